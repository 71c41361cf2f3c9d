"""From search results to a clip: which hits, in which order, with how much around them. Pure."""

import math
from collections.abc import Iterable, Sequence

from prefect_videodb.client.models import SearchResult, Shot
from prefect_videodb.recording.models import Hit, Span

_SHORTEST_CUT_S = 1.0
# Less than this shows nothing, and the service refuses a part without length.
_SHORTEST_PART_S = 0.1


def hits(query: str, result: SearchResult, until_s: float | None = None) -> list[Hit]:
    """Take the usable hits of a query, best first. One without a place in the video cannot be played.

    Args:
        query: what was looked for.
        result: what was found.
        until_s: only what begins before, in seconds from the start of the video.
    """
    last_s = math.inf if until_s is None else until_s
    return [
        Hit(
            query=query,
            start_s=max(0.0, shot.start),
            end_s=shot.end,
            text=" ".join((shot.text or "").split()),
            score=shot.score,
            player_url=shot.player_url,
        )
        for shot in result.shots
        if shot.start is not None and shot.end is not None and shot.end > max(0.0, shot.start) and shot.start < last_s
    ]


def in_order_of_time(found: Iterable[Hit]) -> list[Hit]:
    """Order the hits of all queries by time; what several queries found stands once, with its best score."""
    best: dict[tuple[float, float], Hit] = {}
    for hit in found:
        place = (hit.start_s, hit.end_s)
        if place not in best or (hit.score or 0.0) > (best[place].score or 0.0):
            best[place] = hit
    return sorted(best.values(), key=lambda hit: (hit.start_s, hit.end_s))


def clip_parts(
    found: Sequence[Hit], *, pad_before_s: float, pad_after_s: float, video_length_s: float | None
) -> list[Span]:
    """Give the parts of the video that a clip of these hits shows: padded, in the order of time, merged.

    The service plays twice what is in two parts, so parts that touch become one; so do parts with less than a second
    between them, which would be a stumble and not a cut.
    """
    parts: list[Span] = []
    for hit in sorted(found, key=lambda hit: hit.start_s):
        start_s = round(max(0.0, hit.start_s - pad_before_s), 3)
        end_s = round(min(hit.end_s + pad_after_s, video_length_s or math.inf), 3)
        if end_s - start_s < _SHORTEST_PART_S:
            continue
        if parts and start_s <= parts[-1].end_s + _SHORTEST_CUT_S:
            parts[-1].end_s = max(parts[-1].end_s, end_s)
        else:
            parts.append(Span(start_s=start_s, end_s=end_s))
    return parts


def as_shots(parts: Iterable[Span], *, video_id: str, collection_id: str) -> list[Shot]:
    """Make parts of a video into the shots that `compile_clip` takes."""
    return [Shot(video_id=video_id, collection_id=collection_id, start=part.start_s, end=part.end_s) for part in parts]
