"""The block that says where alerts come in."""

import re
from typing import ClassVar
from uuid import UUID

from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

from prefect_videodb.blocks._look import DOCUMENTATION_URL, LOGO_URL, StrictBlock
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.urls import WEBHOOK, read
from prefect_videodb.webhooks.rules import SHORTEST_TOKEN, AlertRoute, Rules, digest

_ROUTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class AlertWebhook(StrictBlock):
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

    previous_token: SecretStr | None = Field(
        default=None,
        title="Previous token",
        description="Still valid while alerts are moved to a new token. Empty it when they are.",
    )
    routes: dict[str, AlertRoute] = Field(
        default={},
        title="Routes",
        description="What the alerts of a route start. A route that is not here starts the deployment with its tag: "
        "the route door, the one that is tagged videodb-alerts:door.",
    )

    check_receiver: bool = Field(
        default=True,
        title="Check the receiver",
        description="Have each watch ask the receiver at its looks whether it is there. Switch it off where workers "
        "cannot reach the public address, or where a gateway takes the receiver's place.",
    )

    @field_validator("base_url")
    @classmethod
    def _leads_somewhere(cls, url: str) -> str:
        return read(url, WEBHOOK).text.rstrip("/")

    @field_validator("token", "previous_token")
    @classmethod
    def _cannot_be_guessed(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not re.fullmatch(rf"[A-Za-z0-9_-]{{{SHORTEST_TOKEN},200}}", token.get_secret_value()):
            raise ValueError(f"the token has at least {SHORTEST_TOKEN} letters, digits, dashes or underscores")
        return token

    @field_validator("routes")
    @classmethod
    def _are_names(cls, routes: dict[str, AlertRoute]) -> dict[str, AlertRoute]:
        if not all(map(_ROUTE.fullmatch, routes)):
            raise ValueError("a route is made of letters, digits, dots, dashes and underscores")
        return routes

    def rules(self) -> Rules:
        """Give what the receiver goes by: the routes, and digests in place of the tokens."""
        tokens = [self.token, *([self.previous_token] if self.previous_token else [])]
        return Rules(token_digests=[digest(token.get_secret_value()) for token in tokens], routes=self.routes)

    def callback_url(self, route: str, flow_run_id: UUID | None = None) -> SecretStr:
        """Give the address for the alerts of a route; it holds the token, and is never shown.

        Args:
            route: what the alerts start.
            flow_run_id: the run that asks for the alerts; their events in Prefect are related to it.

        Raises:
            ConfigurationError: the route is no name that can stand in a path.
        """
        if not _ROUTE.fullmatch(route):
            raise ConfigurationError(f"a route is made of letters, digits, dots, dashes and underscores; not {route!r}")
        whose = f"/{flow_run_id}" if flow_run_id else ""
        return SecretStr(f"{self.base_url}/videodb/{route}/{self.token.get_secret_value()}{whose}")
