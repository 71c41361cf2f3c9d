"""Live scene indexes of streams: what is seen or said, as it happens."""

from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field

from prefect_videodb.client.models.reading import Id, Model, More, Object, Seconds, Text, readable


class RTStreamSceneIndex(Model):
    """A live index of a stream.

    `extraction_type` is `time` for what is seen and `transcript` for what is said. `status` seen: `running`, `stopped`.
    """

    id: Annotated[Id, Field(validation_alias=AliasChoices("rtstream_index_id", "index_id", "id"))]
    rtstream_id: Text = None
    name: Text = None
    status: Text = None
    prompt: Text = None
    extraction_type: Text = None
    extraction_config: Object = {}
    sandbox_id: Text = None


class RTStreamSceneIndexes(Model):
    """The live indexes of a stream."""

    indexes: Annotated[
        list[RTStreamSceneIndex],
        BeforeValidator(readable(RTStreamSceneIndex)),
        Field(validation_alias=AliasChoices("scene_indexes", "indexes")),
    ] = []


class Scene(Model):
    """What a live index says of one span of a stream; unix seconds."""

    start: Seconds = None
    end: Seconds = None
    description: Annotated[Text, Field(validation_alias=AliasChoices("description", "text"))] = None
    metadata: Object = {}


class ScenePage(Model):
    """One page of a live index, newest first."""

    scenes: Annotated[
        list[Scene],
        BeforeValidator(readable(Scene)),
        Field(validation_alias=AliasChoices("scene_index_records", "scenes")),
    ] = []
    next_page: More = False
