"""Player pages: what `/watch?v=<slug>` shows."""

from dataclasses import dataclass

from prefect_videodb.local_server import ids
from prefect_videodb.local_server.errors import NotFound
from prefect_videodb.local_server.store import Store

MAX_SLUG_PREFIX = 60


@dataclass(frozen=True, slots=True)
class Page:
    """What a player page shows."""

    title: str
    description: str
    stream_path: str


class Pages:
    """The player pages of one server."""

    def __init__(self, store: Store, secret: bytes) -> None:
        self._store = store
        self._secret = secret

    def path(self, stream_path: str, *, title: str, description: str = "", slug_prefix: str = "") -> str:
        """Return the path of a player page for a playlist; the same for the same arguments."""
        slug = ids.slug(self._secret, "page", stream_path, title, description)
        prefix = "".join(c if c.isascii() and c.isalnum() else "-" for c in slug_prefix)[:MAX_SLUG_PREFIX].strip("-")
        if prefix:
            slug = f"{prefix}-{slug}"
        self._store.execute("INSERT OR IGNORE INTO pages VALUES (?, ?, ?, ?)", slug, title, description, stream_path)
        return f"/watch?v={slug}"

    def get(self, slug: str) -> Page:
        """Return what the page of a slug shows.

        Raises:
            NotFound: when there is no such page.
        """
        row = self._store.one("SELECT title, description, stream_path FROM pages WHERE slug = ?", slug)
        if row is None:
            raise NotFound("No such video")
        return Page(**dict(row))
