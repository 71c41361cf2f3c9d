"""What H.264 and AAC say about themselves inside the stream: parameter sets and ADTS headers. Pure: decodes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SLICES: Final = {1, 2, 5}
_SPS, _PPS = 7, 8
_AVCC_VERSION: Final = 1
_SHORTEST_AVCC: Final = 7
_SHORTEST_SPS: Final = 4
_START_CODE: Final = b"\x00\x00\x01"
_ADTS_HEADER_BYTES: Final = 7


def parameter_sets(packet: bytes, length_bytes: int) -> frozenset[bytes]:
    """Return the parameter sets that a packet carries before its first picture.

    Args:
        packet: one access unit.
        length_bytes: size of the length before each unit; 0 for units after start codes (Annex B).
    """
    found = set()
    for unit in _after_lengths(packet, length_bytes) if length_bytes else _after_start_codes(packet):
        kind = unit[0] & 0x1F
        if kind in _SLICES:
            break
        if kind in {_SPS, _PPS}:
            found.add(unit)
    return frozenset(found)


def read_extradata(extradata: bytes) -> tuple[int, frozenset[bytes]]:
    """Return how the packets of a track are framed, as `parameter_sets` takes it, and its parameter sets."""
    if len(extradata) < _SHORTEST_AVCC or extradata[0] != _AVCC_VERSION:
        return 0, parameter_sets(extradata, 0)
    sets, at = [], 5
    for mask in (0x1F, 0xFF):
        count = extradata[at] & mask if at < len(extradata) else 0
        at += 1
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2], "big")
            sets.append(extradata[at + 2 : at + 2 + size])
            at += 2 + size
    return (extradata[4] & 3) + 1, frozenset(filter(None, sets))


def write_extradata(sets: Iterable[bytes], length_bytes: int) -> bytes:
    """Return the extradata that `read_extradata` reads as this."""
    ordered = sorted(sets, key=lambda unit: unit[0] & 0x1F)
    if not length_bytes:
        return b"".join(b"\x00" + _START_CODE + unit for unit in ordered)
    sps = [unit for unit in ordered if unit[0] & 0x1F == _SPS and len(unit) >= _SHORTEST_SPS]
    pps = [unit for unit in ordered if unit[0] & 0x1F == _PPS]
    profile = sps[0][1:4] if sps else b"\x00\x00\x00"
    head = bytes([_AVCC_VERSION, *profile, 0xFC | (length_bytes - 1)])
    return head + b"".join(
        bytes([mark | len(units)]) + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)
        for mark, units in ((0xE0, sps), (0, pps))
    )


def adts_format(packet: memoryview) -> bytes | None:
    """Return profile, sampling rate and channels of AAC with ADTS headers, as they are coded; None where none are."""
    if len(packet) < _ADTS_HEADER_BYTES or packet[0] != 0xFF or packet[1] & 0xF6 != 0xF0:  # noqa: PLR2004 - the sync word
        return None
    return bytes([packet[2] & 0xFD, packet[3] & 0xC0])


def _after_start_codes(data: bytes) -> Iterator[bytes]:
    begin = data.find(_START_CODE)
    while begin >= 0:
        begin += len(_START_CODE)
        if begin < len(data) and data[begin] & 0x1F in _SLICES:
            # Nothing is looked for behind it: searching megabytes for the end of a picture costs.
            yield data[begin : begin + 1]
            return
        end = data.find(_START_CODE, begin)
        # The zeros before a start code are not part of the unit.
        unit = data[begin : end if end >= 0 else len(data)].rstrip(b"\x00")
        if unit:
            yield unit
        begin = end


def _after_lengths(data: bytes, length_bytes: int) -> Iterator[bytes]:
    at = 0
    while at + length_bytes < len(data):
        size = int.from_bytes(data[at : at + length_bytes], "big")
        at += length_bytes
        if size:
            yield data[at : at + size]
        at += size
