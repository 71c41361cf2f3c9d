"""Continuous understanding of live streams, and the indexes made of it."""

from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field

from prefect_videodb.client.models.reading import Flag, Id, Model, More, Object, Seconds, Strings, Text, readable


def _objects_only(value: Any) -> Any:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list | tuple) else []


class RTStreamUnderstanding(Model):
    """A continuous analysis of a stream; `status` is `running`, `stopped` or `failed`.

    What `outputs` holds under an analyzer's name is the `source` of an index.
    """

    id: Annotated[Id, Field(validation_alias=AliasChoices("understanding_id", "id"))]
    rtstream_id: Text = None
    status: Text = None
    store: Flag = None
    segmentation: Object = {}
    analyzers: Annotated[list[dict[str, Any]], BeforeValidator(_objects_only)] = []
    outputs: Object = {}


class RTStreamUnderstandings(Model):
    """The analyses of a stream."""

    understandings: Annotated[list[RTStreamUnderstanding], BeforeValidator(readable(RTStreamUnderstanding))] = []


class RTStreamIndex(Model):
    """A searchable index of what an understanding brings; `status` is `running`, `stopped` or `failed`."""

    id: Annotated[Id, Field(validation_alias=AliasChoices("index_id", "id"))]
    rtstream_id: Text = None
    name: Text = None
    status: Text = None
    use_for: Strings = []
    source_understanding_id: Text = None
    output: Text = None


class RTStreamIndexes(Model):
    """The indexes of a stream."""

    indexes: Annotated[list[RTStreamIndex], BeforeValidator(readable(RTStreamIndex))] = []


class Record(Model):
    """What an understanding or an index says of one span of a stream; unix seconds."""

    id: Annotated[Text, Field(validation_alias=AliasChoices("id", "scene_id", "segment_id"))] = None
    start: Annotated[Seconds, Field(validation_alias=AliasChoices("start", "start_sec"))] = None
    end: Annotated[Seconds, Field(validation_alias=AliasChoices("end", "end_sec"))] = None
    text: Annotated[Text, Field(validation_alias=AliasChoices("text", "description"))] = None
    data: Object = {}


class RecordPage(Model):
    """One page of records."""

    records: Annotated[list[Record], BeforeValidator(readable(Record))] = []
    next_page: More = False
