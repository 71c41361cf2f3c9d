"""Search in videos: the one that sees the spoken words and the scenes, and the newer one, which sees neither."""

import logging
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from prefect_videodb.local_server.calls import Answer, Call, Fields
from prefect_videodb.local_server.clips import Shot
from prefect_videodb.local_server.errors import BadRequest, NotFound, Unsupported
from prefect_videodb.local_server.search import Hit, search
from prefect_videodb.local_server.speech import Sentence
from prefect_videodb.local_server.videos import Video

logger = logging.getLogger(__name__)

# The SDK drops the message of an answer that succeeded: the log of the server has it as well.
BLIND = "search/v2 does not see the spoken-word index: search with legacy_search(), or POST /video/{id}/search"
# The service's defaults for a semantic search, which its SDK sends, too.
SCORE_THRESHOLD = 0.2
RESULT_THRESHOLD = 5
# Played before and after a found sentence: the recognizer's times are those of the words, which sound clipped.
PAD_S = 0.5


class SearchFields(Fields):
    """`POST /video/{id}/search`."""

    query: str = Field(min_length=1, max_length=10_000)
    search_type: str | None = None
    index_type: Literal["spoken_word", "scene"] | None = None
    scene_index_id: str | None = None
    score_threshold: float | None = None
    result_threshold: int | None = Field(None, ge=1, le=2**31)
    filter: list[dict[str, Any]] | None = None


class NewerSearch(Fields):
    """`POST …/search/v2`."""

    query: str = Field(min_length=1, max_length=10_000)


class NamedIndexes(Fields):
    """`POST …/semantic-search`, `…/query` and `…/aggregate`: the indexes that are meant."""

    index_name: str | None = None
    index_id: str | None = None
    index_names: list[str] | str | None = None
    index_ids: list[str] | str | None = None


def find(call: Call) -> Answer:
    """`POST /video/{id}/search`: the sentences or scenes that answer a query."""
    fields = call.fields(SearchFields)
    video = call.state.videos.get(call.path["video_id"], "video")
    if fields.filter:
        raise Unsupported("filter is not supported by the local server: what it indexes carries no metadata to filter")
    in_scenes = "scene" in {fields.index_type, fields.search_type}
    if in_scenes:
        scenes = call.state.scenes.scenes(video, fields.scene_index_id)
        if not scenes:
            raise BadRequest("The video has no scene index: index its scenes first")
        sentences = [Sentence(scene.description, scene.start_s, scene.end_s) for scene in scenes]
    else:
        sentences = call.state.transcripts.indexed_sentences(video)
    match fields.search_type or "semantic":
        case "semantic" | "scene":  # the Node SDK's search of scenes
            hits = search(sentences, fields.query, "semantic")
            least = SCORE_THRESHOLD if fields.score_threshold is None else fields.score_threshold
            most = RESULT_THRESHOLD if fields.result_threshold is None else fields.result_threshold
        case "keyword":
            hits = search(sentences, fields.query, "keyword")
            least = fields.score_threshold or 0.0
            most = fields.result_threshold or len(hits)
        case _:
            raise BadRequest("search_type must be semantic, keyword or scene: the local server has no language model")
    pad_s = 0.0 if in_scenes else PAD_S
    return found(video, docs_of(call, video, hits, least=least, most=most, pad_s=pad_s))


def docs_of(
    call: Call,
    video: Video,
    hits: Sequence[Hit],
    *,
    least: float = SCORE_THRESHOLD,
    most: int = RESULT_THRESHOLD,
    pad_s: float = PAD_S,
) -> list[dict[str, Any]]:
    """Return what was found as the service describes it, with links that play it."""
    docs = []
    for hit in [hit for hit in hits if hit.score >= least][:most]:
        start = max(0.0, round(hit.sentence.start_s - pad_s, 3))
        end = min(round(video.length_s, 3), round(hit.sentence.end_s + pad_s, 3))
        links = call.state.clips.links([Shot(video.id, start, end)], title=video.name, description=hit.sentence.text)
        # The SDK 0.4.5 reads `stream_link`, 0.5.1 either.
        links["stream_link"] = links["stream_url"]
        docs.append({"start": start, "end": end, "text": hit.sentence.text, "score": hit.score, **links})
    return docs


def found(video: Video, docs: list[dict[str, Any]]) -> Answer:
    """Answer with what was found in one video.

    Raises:
        BadRequest: when that is nothing: an error, as at the service; its callers know it by these words.
    """
    if not docs:
        raise BadRequest("No results found")
    result = {
        "video_id": video.id,
        "collection_id": video.collection_id,
        "title": video.name,
        "length": f"{video.length_s:.3f}",
        "docs": docs,
    }
    return Answer({"results": [result]})


class NewerOperations:
    """The newer search on videos or collections: it looks into indexes of understandings, and no video here has one."""

    def __init__(self, within: Literal["video", "collection"]) -> None:
        self._within = within

    def search(self, call: Call) -> Answer:
        """`POST …/search/v2`: nothing, as at the service where only the older indexes exist."""
        self._check(call)
        call.fields(NewerSearch)
        logger.warning(BLIND)
        return Answer({"response_type": "shots", "results": []}, envelope={"message": BLIND})

    def find(self, call: Call) -> Answer:
        """`POST …/semantic-search` and `…/query`: nothing, and an index that is named is not there."""
        self._check(call)
        self._no_index(call)
        raise BadRequest("No results found")

    def aggregate(self, call: Call) -> Answer:
        """`POST …/aggregate`: no groups, and an index that is named is not there."""
        self._check(call)
        self._no_index(call)
        return Answer([])

    def _check(self, call: Call) -> None:
        if self._within == "video":
            call.state.videos.get(call.path["within_id"], "video")
        else:
            call.state.library.get(call.path["within_id"])

    @staticmethod
    def _no_index(call: Call) -> None:
        fields = call.fields(NamedIndexes)
        for name in (fields.index_name, fields.index_id, fields.index_names, fields.index_ids):
            if name:
                raise NotFound(f"Index {name if isinstance(name, str) else ', '.join(name)} not found")

    def operations(self) -> dict[tuple[str, str], Any]:
        """Return where they are served."""
        root = f"/{self._within}/{{within_id}}"
        return {
            ("POST", f"{root}/search/v2"): self.search,
            ("POST", f"{root}/semantic-search"): self.find,
            ("POST", f"{root}/query"): self.find,
            ("POST", f"{root}/aggregate"): self.aggregate,
        }


OPERATIONS = {
    ("POST", "/video/{video_id}/search"): find,
    **NewerOperations("video").operations(),
    **NewerOperations("collection").operations(),
}
