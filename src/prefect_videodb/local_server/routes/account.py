"""Collections, and the account."""

from pydantic import Field

from prefect_videodb.local_server.calls import Answer, Call, Fields
from prefect_videodb.local_server.library import DEFAULT_COLLECTION


class Create(Fields):
    """`POST /collection`."""

    name: str = Field(min_length=1, max_length=1000)
    description: str = Field("", max_length=10_000)
    is_public: bool = False


def list_all(call: Call) -> Answer:
    """`GET /collection`: all of them."""
    return Answer({"collections": call.state.library.all(), "default_collection": DEFAULT_COLLECTION})


def create(call: Call) -> Answer:
    """`POST /collection`: a new one."""
    fields = call.fields(Create)
    return Answer(
        call.state.library.create(name=fields.name, description=fields.description, is_public=fields.is_public)
    )


def get(call: Call) -> Answer:
    """`GET /collection/{id}`: one of them."""
    return Answer(call.state.library.get(call.path["collection_id"]))


def usage(call: Call) -> Answer:
    """`GET /billing/usage`: what was used."""
    return Answer(call.state.usage())


OPERATIONS = {
    ("GET", "/collection"): list_all,
    ("POST", "/collection"): create,
    ("GET", "/collection/{collection_id}"): get,
    ("GET", "/billing/usage"): usage,
}
