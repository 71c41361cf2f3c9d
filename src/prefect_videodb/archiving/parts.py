"""Cut a stream of bytes into the parts of a multipart upload, and know the checksums of the whole. Pure."""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from io import BytesIO

LEAST_PART_BYTES = 16 * 1024 * 1024
MOST_PARTS = 10_000  # of one upload, at AWS and elsewhere
MAX_OBJECT_BYTES = 5 * 2**40  # the same; the parts of such an object have 525 MiB, of 5 GiB that are allowed


def part_bytes(length: int) -> int:
    """Say how large the parts of a file of `length` bytes are: as small as there may be so many of them."""
    return max(LEAST_PART_BYTES, -(-length // MOST_PARTS))


def parts(chunks: Iterable[bytes], size: int) -> Iterator[BytesIO]:
    """Gather chunks into parts of `size` bytes; the last one may be smaller. One part is held at a time.

    They are files, since boto3's log shows what is sent as it is, down to the last byte, unless it is a file.
    """
    part = BytesIO()
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            rest = rest[part.write(rest[: size - part.tell()]) :]
            if part.tell() == size:
                yield part
                part = BytesIO()
    if part.tell():
        yield part


class Digest:
    """The checksums of a file that is sent in parts."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._of_parts = bytearray()
        self.size = 0
        self.count = 0

    def add(self, part: BytesIO) -> str:
        """Take the next part, and give what its `Content-MD5` says."""
        content = part.getbuffer()
        md5 = hashlib.md5(content, usedforsecurity=False).digest()
        self._whole.update(content)
        self._of_parts += md5
        self.size += len(content)
        self.count += 1
        return base64.b64encode(md5).decode()

    @property
    def sha256(self) -> str:
        """The whole file's SHA-256, in hex."""
        return self._whole.hexdigest()

    @property
    def etag(self) -> str:
        """What S3 calls the whole: the MD5 of the parts' MD5s, and their number."""
        return f"{hashlib.md5(self._of_parts, usedforsecurity=False).hexdigest()}-{self.count}"
