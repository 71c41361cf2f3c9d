"""How a file is cut into parts, and what it is called: pure."""

import hashlib
import tracemalloc

import pytest

from prefect_videodb.archiving.keys import keys_of
from prefect_videodb.archiving.parts import LEAST_PART_BYTES, MOST_PARTS, Digest, part_bytes, parts
from prefect_videodb.archiving.sidecar import Sidecar
from prefect_videodb.errors import ConfigurationError


@pytest.mark.parametrize("length", [1, 10**6, 167_772_160_000, 167_772_160_001, 5 * 1024**4])
def test_no_file_has_more_parts_than_there_may_be_nor_smaller_ones_than_need_be(length: int) -> None:
    size = part_bytes(length)
    assert -(-length // size) <= MOST_PARTS
    assert size == LEAST_PART_BYTES or -(-length // (size - 1)) > MOST_PARTS


@pytest.mark.parametrize("chunk", [1, 3, 10, 11, 100])
@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 30, 95])
def test_however_it_comes_it_is_cut_into_whole_parts_and_one_rest(chunk: int, length: int) -> None:
    content = bytes(range(length))
    made = [part.getvalue() for part in parts((content[at : at + chunk] for at in range(0, length, chunk)), 10)]
    assert made == [content[at : at + 10] for at in range(0, length, 10)]


def test_of_a_large_file_little_is_in_memory_at_a_time() -> None:
    tracemalloc.start()
    try:
        digest = Digest()
        for part in parts((bytes(1 << 18) for _ in range(400)), LEAST_PART_BYTES):
            digest.add(part)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert digest.size == 400 << 18
    assert most < 3 * LEAST_PART_BYTES < digest.size / 2


def test_the_checksums_are_those_of_the_whole() -> None:
    digest = Digest()
    for part in parts([b"0123456789", b"abc"], 10):
        digest.add(part)
    of_parts = hashlib.md5(b"0123456789").digest() + hashlib.md5(b"abc").digest()  # noqa: S324 - S3's own checksum
    assert digest.etag == f"{hashlib.md5(of_parts).hexdigest()}-2"  # noqa: S324 - the same
    assert digest.sha256 == hashlib.sha256(b"0123456789abc").hexdigest()
    assert (digest.size, digest.count) == (13, 2)


def test_no_id_leads_out_of_its_folder() -> None:
    assert keys_of("meetings", "m-1").video == "meetings/m-1/video.mp4"
    assert keys_of("", "m-1").sidecar == "m-1/recording.json"
    assert keys_of("a", "../x/y z").video == "a/..%2Fx%2Fy%20z/video.mp4"
    for none in ("", " ", ".", ".."):
        with pytest.raises(ConfigurationError, match="not an id"):
            keys_of("meetings", none)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"x" * 100, b'{"format": "another"}', b"\\xff\\xfe"])
def test_what_is_no_sidecar_says_nothing(content: bytes | None) -> None:
    assert Sidecar.read(content, "m-1") is None
