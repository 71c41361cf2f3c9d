"""What the newer search answers with."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from prefect_videodb.client.models.reading import Model, Text, readable
from prefect_videodb.client.models.videos import SearchedVideo, SearchResult, Shot

_OF_SHOTS = frozenset({"shots", "deepsearch"})


class SearchResponse(Model):
    """What a search that chooses its own indexes found.

    `response_type` is `shots`, `deepsearch` or `aggregate`; `results` is what came, and `shots` reads it as hits. A
    deep search may ask back: then `waiting_for` and `clarification` say what for, and `session_id` continues it.
    """

    response_type: Text = None
    session_id: Text = None
    waiting_for: Text = None
    clarification: Any = None
    results: Any = None

    @property
    def shots(self) -> list[Shot]:
        """The hits; none when the response is no list of hits."""
        if self.response_type not in _OF_SHOTS:
            return []
        return SearchResult.model_validate({"results": self.results}).shots


class AskResponse(Model):
    """An answer in words, and what it rests upon."""

    answer: Text = None
    sources: Annotated[list[SearchedVideo], BeforeValidator(readable(SearchedVideo))] = []

    @property
    def shots(self) -> list[Shot]:
        """The hits that the answer rests upon."""
        return SearchResult(results=self.sources).shots
