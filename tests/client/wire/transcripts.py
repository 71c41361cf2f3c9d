"""Transcripts of live streams."""

from prefect_videodb.client import transcripts
from tests.client.wire.case import STREAM, Case, rest

_START = STREAM + "start_transcript(" + rest("rtstream_id") + ")"
_STOP = STREAM + "stop_transcript(" + rest("rtstream_id") + ")"
_READ = STREAM + "get_transcript(" + rest("rtstream_id") + ")"

CASES = [
    Case(transcripts.start, _START, {"rtstream_id": "rts-1"}),
    Case(transcripts.start, _START, {"rtstream_id": "rts-1", "engine": "e", "ws_connection_id": "ws-1"}),
    Case(transcripts.stop, _STOP, {"rtstream_id": "rts-1"}),
    Case(transcripts.stop, _STOP, {"rtstream_id": "rts-1", "engine": "e"}),
    Case(transcripts.page, _READ, {"rtstream_id": "rts-1"}),
    Case(
        transcripts.page,
        _READ,
        {
            "rtstream_id": "rts-1",
            "page": 2,
            "page_size": 1000,
            "start": 1748475396,
            "end": 1748475407.5,
            "since": 1748475390.25,
            "engine": "e",
        },
    ),
]
