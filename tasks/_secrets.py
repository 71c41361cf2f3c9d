"""Arguments that may be given as a secret, so that nothing shows them on the way here."""

from typing import overload

from pydantic import SecretStr


@overload
def plain(value: SecretStr | str) -> str: ...


@overload
def plain(value: SecretStr | str | None) -> str | None: ...


def plain(value: SecretStr | str | None) -> str | None:
    """Give the text itself."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value
