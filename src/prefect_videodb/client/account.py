"""The account."""

from prefect_videodb.client.call import Call, path
from prefect_videodb.client.models import Usage


def usage() -> Call[Usage]:
    """Read what the account has used, and what is left.   GET /billing/usage."""
    return Call("GET", path("billing", "usage"), Usage.model_validate, repeatable=True)
