"""Which VideoDB accounts there are: what is billed on any of them is looked after."""

from dataclasses import dataclass

from prefect.client.orchestration import SyncPrefectClient

from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.recording.inputs import load_credentials, saved_names

_DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Account:
    """A VideoDB account, and the name of the block that holds its key."""

    name: str
    credentials: VideoDBCredentials


def accounts(given: VideoDBCredentials | str | None, prefect: SyncPrefectClient) -> tuple[list[Account], list[str]]:
    """Return the account that somebody named, or all that are saved, each once; and which blocks cannot be used.

    With the one of the environment's key, where recordings use that: where no block of the name `default` is saved.

    Raises:
        httpx.HTTPError, PrefectException: Prefect cannot be asked.
    """
    found: list[Account] = []
    troubles: list[str] = []
    for one in [given] if given else _saved(prefect):
        name = (one if isinstance(one, str) else one._block_document_name) or "unsaved"  # noqa: SLF001 - Prefect's only
        try:
            credentials = load_credentials(one)
        except ConfigurationError as error:
            troubles.append(f"account {name}: {error}")
            continue
        if not any(credentials.is_same_account(other.credentials) for other in found):
            found.append(Account(name.rpartition("/")[2], credentials))
    return found, troubles


def _saved(prefect: SyncPrefectClient) -> list[VideoDBCredentials | str]:
    names = saved_names(VideoDBCredentials, prefect)
    if _DEFAULT not in names and (not names or VideoDBCredentials().has_key()):
        names.append(_DEFAULT)
    return [*names]
