"""The block that holds the key to VideoDB."""

import os
from typing import ClassVar, TypeVar

from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

from prefect_videodb.blocks._look import DOCUMENTATION_URL, LOGO_URL, StrictBlock
from prefect_videodb.client import API_KEY_VARIABLE, BASE_URL, AsyncClient, Client
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.urls import SERVICE, read

_C = TypeVar("_C", Client, AsyncClient)


class VideoDBCredentials(StrictBlock):
    """The VideoDB account to work with: API key, base URL, time-out.

    Example:
        ```python
        from prefect_videodb.blocks import VideoDBCredentials

        credentials = VideoDBCredentials.load("BLOCK_NAME")
        client = credentials.get_client()
        ```
    """

    _block_type_name: ClassVar[str | None] = "VideoDB Credentials"
    _block_type_slug: ClassVar[str | None] = "videodb-credentials"
    _description: ClassVar[str | None] = (
        f"The VideoDB account to work with. Without a key, the environment variable {API_KEY_VARIABLE} is read."
    )
    _logo_url: ClassVar[HttpUrl | None] = LOGO_URL
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION_URL

    # An error about a field must not show the value: it may be the key, put into the wrong field.
    model_config = ConfigDict(hide_input_in_errors=True)

    api_key: SecretStr | None = Field(
        default=None,
        title="API key",
        description=f"From VideoDB's console. Left empty, the environment variable {API_KEY_VARIABLE} of the worker.",
    )
    base_url: str = Field(
        default=BASE_URL,
        title="Base URL",
        description="Where VideoDB is. Change it to use the embedded local server, e.g. http://127.0.0.1:8765.",
    )
    timeout_s: float = Field(
        default=30.0,
        gt=0,
        title="Time-out of an answer (seconds)",
        description="How long one exchange with the service may take in all. Long jobs have time-outs of their own.",
    )

    @field_validator("base_url")
    @classmethod
    def _leads_somewhere(cls, url: str) -> str:
        return read(url, SERVICE).text.rstrip("/")

    def has_key(self) -> bool:
        """Tell whether there is a key, here or in the environment."""
        return bool(self._key_if_any())

    def is_same_account(self, other: "VideoDBCredentials") -> bool:
        """Tell whether another block leads to the same account: the same key, at the same place."""
        return self._place() == other._place()  # noqa: SLF001 - of the same class

    def get_client(self) -> Client:
        """Return a client for this account. Clients share the connections of the process, and need not be closed.

        Raises:
            ConfigurationError: there is no key, or the base URL cannot be.
        """
        return self._connected(Client)

    def get_async_client(self) -> AsyncClient:
        """Return an asynchronous client for this account, to be kept; close it, or use it as a context manager.

        Raises:
            ConfigurationError: there is no key, or the base URL cannot be.
        """
        return self._connected(AsyncClient)

    def _connected(self, kind: type[_C]) -> _C:
        name = self._block_document_name
        account = f"the VideoDBCredentials block {name!r}" if name else "the VideoDBCredentials block"
        try:
            return kind(api_key=self._key(), base_url=self.base_url, timeout_s=self.timeout_s, account=account)
        except ConfigurationError as error:
            raise ConfigurationError(f"{account} cannot be used: {error}") from None

    def _place(self) -> tuple[str, str]:
        return self._key_if_any(), self.base_url

    def _key(self) -> SecretStr:
        key = self._key_if_any()
        if not key:
            raise ConfigurationError(
                f"it has no API key: fill it in, or set {API_KEY_VARIABLE} in the worker's environment"
            )
        return SecretStr(key)

    def _key_if_any(self) -> str:
        key = self.api_key.get_secret_value() if self.api_key else os.environ.get(API_KEY_VARIABLE, "")
        return key.strip()
