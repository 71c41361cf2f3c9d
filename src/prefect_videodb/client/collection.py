"""Collections (singular: a module named `collections` invites being taken for the standard library's)."""

from prefect_videodb.client.call import Call, path
from prefect_videodb.client.models import Collection, Collections


def get(collection_id: str = "default") -> Call[Collection]:
    """Read a collection.   GET /collection/{id}."""
    return Call("GET", path("collection", collection_id), Collection.model_validate, repeatable=True)


def list_all() -> Call[Collections]:
    """Read all collections of the account.   GET /collection."""
    return Call("GET", path("collection"), Collections.model_validate, repeatable=True)


def create(name: str, description: str, *, is_public: bool = False) -> Call[Collection]:
    """Make a collection. Names are not unique: made twice, there are two.   POST /collection."""
    body = {"name": name, "description": description, "is_public": is_public}
    return Call("POST", path("collection"), Collection.model_validate, json=body)
