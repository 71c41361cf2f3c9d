"""What can go wrong with media, one class for each thing a caller may want to do about it.

    MediaError
    ├── SourceUnreachable   nobody answers at the address, or it refuses: check the address, try again later
    ├── BadMedia            it answers with something that cannot be recorded or cut: choose another source
    └── DiskFull            there is no room for more: free some, what was written so far is whole

No message holds a secret of the source's URL.
"""

from __future__ import annotations


class MediaError(Exception):
    """Something about a source, a recording or a media file failed."""


class SourceUnreachable(MediaError):
    """Nothing answers at the source's address, or it refuses to serve it."""


class BadMedia(MediaError):
    """The bytes are there, and they are not media that can be recorded or cut."""


class DiskFull(MediaError):
    """There is no room for more; everything handed over before is whole."""
