"""Identifiers in the service's formats, and the slugs that guard what is served without a key."""

import base64
import hashlib
import hmac
import json
import os
import time
import uuid


def uuid7() -> str:
    """Return a UUID of version 7: ordered by its time of creation, with 74 random bits (RFC 9562)."""
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))


def stream_id() -> str:
    """Return the id of a new stream."""
    return f"rts-{uuid7()}"


def video_id() -> str:
    """Return the id of a new video."""
    return f"m-z-{uuid7()}"


def audio_id() -> str:
    """Return the id of a new sound recording."""
    return f"a-{uuid7()}"


def collection_id() -> str:
    """Return the id of a new collection."""
    return f"c-{uuid.uuid4()}"


def understanding_id() -> str:
    """Return the id of a new understanding of a stream."""
    return f"und-{uuid7()}"


def index_id() -> str:
    """Return the id of a new index of an understanding."""
    return f"idx-{uuid7()}"


def capture_session_id() -> str:
    """Return the id of a new capture session."""
    return f"cap-{uuid7()}"


def meeting_id() -> str:
    """Return the id of a new recording of a meeting by a bot."""
    return f"mtg-{uuid7()}"


def short_id() -> str:
    """Return 16 hexadecimal digits: the service's form for scene indexes, events and alerts."""
    return os.urandom(8).hex()


def job_id() -> str:
    """Return the id of a new job."""
    return f"job-{uuid7()}"


def slug(secret: bytes, *parts: object) -> str:
    """Return 128 bits that nobody can guess without `secret`, the same for the same `parts`.

    Being derived, not random, makes every link of the server repeatable: asking twice for the same clip gives one clip.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    digest = hmac.digest(secret, text.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")
