"""Understanding of live streams, and indexes made of it: only the newer SDK has them."""

from typing import Any

from prefect_videodb.client import understandings
from tests.client.wire.case import STREAM, Case, rest

_NEW = "videodb.rtstream.RTStreamUnderstanding"
_UND = _NEW + "(conn, args['understanding_id'], args['rtstream_id'])."
_IDX = "videodb.rtstream.RTStreamIndex(conn, args['index_id'], args['rtstream_id'])."
_S: dict[str, Any] = {"rtstream_id": "rts-1"}
_U: dict[str, Any] = _S | {"understanding_id": "und-1"}
_I: dict[str, Any] = _S | {"index_id": "idx-1"}
_RANGE = {"start": 1748475396, "end": 1748475407.5}
_PAGE = {"page": 3, "page_size": 20}
_SOURCE = {"source": {"understanding_id": "und-1", "output": "scene"}}
_ANALYZER = {"type": "vlm", "name": "door", "sampling": {"frame_count": 5}, "config": {"prompt": "Open?"}}


def _case(operation: Any, code: str, arguments: dict[str, Any]) -> Case:
    return Case(operation, code, arguments, needs=_NEW)


CASES = [
    _case(understandings.understand, STREAM + "understand()", _S),
    _case(
        understandings.understand,
        STREAM + "understand(" + rest("rtstream_id") + ")",
        _S
        | {
            "segmentation": {"type": "time", "window": "10s"},
            "analyzers": [_ANALYZER],
            "store": False,
            "ws_connection_id": "ws-1",
        },
    ),
    _case(understandings.get, STREAM + "get_understanding(args['understanding_id'])", _U),
    _case(understandings.list_all, STREAM + "list_understanding()", _S),
    _case(understandings.start, _UND + "start()", _U),
    _case(understandings.stop, _UND + "stop()", _U),
    _case(
        understandings.record_page, _UND + "get_records(" + rest("rtstream_id", "understanding_id") + ")", _U | _RANGE
    ),
    _case(
        understandings.record_page,
        _UND + "get_records(" + rest("rtstream_id", "understanding_id") + ")",
        _U | _RANGE | _PAGE | {"output": "door"},
    ),
    _case(understandings.index, STREAM + "index(args['source'])", _S | _SOURCE),
    _case(
        understandings.index,
        STREAM + "index(" + rest("rtstream_id") + ")",
        _S | _SOURCE | {"name": "Door", "use_for": ["semantic", "query"]},
    ),
    _case(understandings.get_index, STREAM + "get_index(args['index_id'])", _I),
    _case(understandings.list_indexes, STREAM + "list_indexes()", _S),
    _case(understandings.start_index, _IDX + "start()", _I),
    _case(understandings.stop_index, _IDX + "stop()", _I),
    _case(understandings.index_record_page, _IDX + "get_records()", _I),
    _case(
        understandings.index_record_page,
        _IDX + "get_records(" + rest("rtstream_id", "index_id") + ")",
        _I | _RANGE | _PAGE,
    ),
]
