"""Which VideoDB accounts there are: what is billed on any of them is looked after."""

from dataclasses import dataclass

from prefect.client.orchestration import SyncPrefectClient

from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.recording.inputs import load_credentials

_DEFAULT = "default"
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Account:
    """A VideoDB account, and the name of the block that holds its key."""

    name: str
    credentials: VideoDBCredentials


def given_account(given: VideoDBCredentials | str) -> Account:
    """Give the account that somebody named.

    Raises:
        ConfigurationError: there is no such block.
    """
    credentials = load_credentials(given)
    name = given if isinstance(given, str) else credentials._block_document_name  # noqa: SLF001 - Prefect has no other
    return Account((name or "unsaved").rpartition("/")[2], credentials)


def saved_accounts(prefect: SyncPrefectClient) -> tuple[list[Account], list[str]]:
    """Give all accounts that are saved, each once, and what is wrong with blocks that cannot be read.

    With the one of the environment's key, where recordings use that: where no block of the name `default` is saved.

    Raises:
        ConfigurationError: there is none.
        httpx.HTTPError, PrefectException: Prefect cannot be asked.
    """
    names = _names(prefect)
    if _DEFAULT not in names and (not names or VideoDBCredentials().has_key()):
        names.append(_DEFAULT)
    found: list[Account] = []
    troubles: list[str] = []
    for name in names:
        try:
            account = given_account(name)
        except ConfigurationError as error:
            troubles.append(f"account {name}: {error}")
            continue
        if not any(account.credentials.is_same_account(other.credentials) for other in found):
            found.append(account)
    if not found:
        raise ConfigurationError("; ".join(troubles))
    return found, troubles


def _names(prefect: SyncPrefectClient) -> list[str]:
    slug = VideoDBCredentials.get_block_type_slug()
    found: list[str] = []
    while True:
        body = {
            "block_types": {"slug": {"any_": [slug]}},
            "include_secrets": False,
            "limit": _PAGE,
            "offset": len(found),
        }
        page = prefect.request("POST", "/block_documents/filter", json=body).raise_for_status().json()
        found += [document["name"] for document in page]
        if len(page) < _PAGE:
            return found
