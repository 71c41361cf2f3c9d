"""The block that says where alerts come in."""

import re
from typing import ClassVar
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

from prefect_videodb.blocks._look import DOCUMENTATION_URL, LOGO_URL
from prefect_videodb.errors import ConfigurationError

_ROUTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHORTEST_TOKEN = 20


class AlertWebhook(Block):
    """Where VideoDB posts alerts to: the receiver's public address, and the token that tells true alerts from forged.

    Example:
        ```python
        from prefect_videodb.blocks import AlertWebhook

        AlertWebhook(base_url="https://hooks.example", token="…").save("BLOCK_NAME")
        url = AlertWebhook.load("BLOCK_NAME").callback_url("follow-up")
        ```
    """

    _block_type_name: ClassVar[str | None] = "VideoDB Alert Webhook"
    _block_type_slug: ClassVar[str | None] = "videodb-alert-webhook"
    _description: ClassVar[str | None] = "Where VideoDB posts the alerts of live streams to."
    _logo_url: ClassVar[HttpUrl | None] = LOGO_URL
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION_URL

    # An error about a field must not show the value: it may be the token, put into the wrong field.
    model_config = ConfigDict(hide_input_in_errors=True)

    base_url: str = Field(
        title="Public base URL",
        description="Where the receiver is reached from the internet, e.g. https://hooks.example.",
    )
    token: SecretStr = Field(
        title="Token",
        description="At least 20 characters that nobody can guess: it is all that guards the address.",
    )

    @field_validator("base_url")
    @classmethod
    def _leads_somewhere(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
            raise ValueError("the URL looks like https://host or https://host/path, and holds no secret")
        return url.rstrip("/")

    @field_validator("token")
    @classmethod
    def _cannot_be_guessed(cls, token: SecretStr) -> SecretStr:
        if not re.fullmatch(rf"[A-Za-z0-9_-]{{{_SHORTEST_TOKEN},200}}", token.get_secret_value()):
            raise ValueError(f"the token has at least {_SHORTEST_TOKEN} letters, digits, dashes or underscores")
        return token

    def callback_url(self, route: str) -> SecretStr:
        """Give the address for the alerts of a route; it holds the token, and is never shown.

        Raises:
            ConfigurationError: the route is no name that can stand in a path.
        """
        if not _ROUTE.fullmatch(route):
            raise ConfigurationError(f"a route is made of letters, digits, dots, dashes and underscores; not {route!r}")
        return SecretStr(f"{self.base_url}/videodb/{route}/{self.token.get_secret_value()}")
