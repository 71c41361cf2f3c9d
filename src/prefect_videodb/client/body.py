"""How much of an answer is read: one limit for every exchange with the service. Pure, no I/O."""

import zlib

import httpx

# A page of a thousand transcript records with the time of each word is 2 MiB.
MAX_BODY_BYTES = 32 * 2**20
# What the client asks for; `zlib` recognizes the two by their headers.
ACCEPT_ENCODING = "gzip, deflate"
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS


class UnreadableBody(Exception):
    """The body is larger than the limit, or not in an encoding that was asked for."""


class Body:
    """Gather the body of an answer, decoded while it comes.

    Args:
        encoding: the answer's `Content-Encoding`.
        length: its `Content-Length` in bytes; None when it does not say.

    Raises:
        UnreadableBody: the body is not to be read.
    """

    def __init__(self, encoding: str, length: int | None = None) -> None:
        names = [name for name in encoding.lower().replace(" ", "").split(",") if name not in {"", "identity"}]
        if names and names not in (["gzip"], ["x-gzip"], ["deflate"]):
            raise UnreadableBody(f"its encoding is {encoding[:40]!r}, and {ACCEPT_ENCODING} was asked for")
        self._content = bytearray()
        self._received = 0
        self._encoding = names[0] if names else None
        self._decoder = zlib.decompressobj(_GZIP_OR_ZLIB) if names else None
        self._check(length or 0)

    def add(self, chunk: bytes) -> None:
        """Take the next bytes as they came.

        Raises:
            UnreadableBody: the limit is reached.
            httpx.DecodingError: they were damaged on the way.
        """
        self._received += len(chunk)
        self._check(self._received)
        self._content += self._decoded(chunk) if self._decoder else chunk
        self._check(len(self._content))

    def finish(self) -> bytes:
        """Return the whole body.

        Raises:
            httpx.DecodingError: its end is missing.
        """
        if self._decoder and self._received and not self._decoder.eof:
            raise httpx.DecodingError(f"its {self._encoding} encoding is cut off")
        return bytes(self._content)

    def _decoded(self, chunk: bytes) -> bytes:
        if self._decoder is None:
            return chunk
        room = MAX_BODY_BYTES + 1 - len(self._content)
        is_first = self._received == len(chunk)
        try:
            return self._decoder.decompress(chunk, room)
        except zlib.error:
            if self._encoding != "deflate" or not is_first:
                raise httpx.DecodingError(f"it is not {self._encoding}") from None
        # Some servers send deflate without the header of zlib.
        self._decoder = zlib.decompressobj(_RAW_DEFLATE)
        try:
            return self._decoder.decompress(chunk, room)
        except zlib.error:
            raise httpx.DecodingError(f"it is not {self._encoding}") from None

    def _check(self, size: int) -> None:
        if size > MAX_BODY_BYTES:
            raise UnreadableBody(f"it is larger than {MAX_BODY_BYTES // 2**20} MiB, the limit for one answer")
