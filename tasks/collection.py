"""Collections: what videos and streams belong to."""

from prefect import task

from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import collection
from prefect_videodb.client.models import Collection
from prefect_videodb.tasks._options import OPERATION, RunName


@task(task_run_name=RunName("get-collection-{collection_id}"), **OPERATION)
def get_collection(credentials: VideoDBCredentials, collection_id: str = "default") -> Collection:
    """Read a collection.

    Args:
        credentials: the account.
        collection_id: the collection; `default` is there in every account.

    Raises:
        NotFound: there is no such collection.

    Source: GET /collection/{id}
    """
    return credentials.get_client().send(collection.get(collection_id))


@task(task_run_name="list-collections", **OPERATION)
def list_collections(credentials: VideoDBCredentials) -> list[Collection]:
    """Read all collections of the account.

    Source: GET /collection
    """
    return credentials.get_client().send(collection.list_all()).collections


@task(task_run_name=RunName("create-collection-{name}"), **OPERATION)
def create_collection(
    credentials: VideoDBCredentials, name: str, description: str, is_public: bool = False
) -> Collection:
    """Make a collection. Names are not unique, so this is not repeated after its answer was lost.

    Args:
        credentials: the account.
        name: what it is called.
        description: what it is for.
        is_public: whether everybody may see it.

    Source: POST /collection
    """
    return credentials.get_client().send(collection.create(name, description, is_public=is_public))
