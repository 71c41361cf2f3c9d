"""The connections to Prefect that the runs share.

A client of its own costs each run some 30 ms of CPU (certificates are read for it) and a socket. A run that is
interrupted inside a request may leave the client's pool in disorder: then the next runs get another one.
"""

import threading
from contextvars import Context, copy_context
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.context import SyncClientContext

# On SQLite a server answers 503 to a write that another write overtook, and the client then waits for seconds. Of 191
# writes of labels at the start of 30 recordings 135 were answered so; one at a time, none is, and all are faster.
_CONNECTIONS = 1


class Shared:
    """A client, and the context that holds it."""

    def __init__(self, base: Context) -> None:
        self.base = base.copy()
        self.users = 0
        self.is_retired = False
        # Prefect hands a context's client on to whoever asks for one only where the context was made without settings.
        settings: dict[str, Any] = {"limits": httpx.Limits(max_connections=_CONNECTIONS, keepalive_expiry=None)}
        self._client = self.base.run(SyncClientContext)
        self._client.client = self.base.run(lambda: get_client(sync_client=True, httpx_settings=settings))
        self.base.run(self._client.__enter__)

    def context(self) -> Context:
        """Give a fresh context, for one run."""
        return self.base.copy()

    def close(self) -> None:
        """Close the client."""
        self.base.run(self._client.__exit__, None, None, None)


class Connection:
    """Gives out the shared client. Safe to use from several threads."""

    def __init__(self) -> None:
        self._base = copy_context()
        self._lock = threading.Lock()
        self._current: Shared | None = None

    def take(self) -> Shared:
        """Give what a run shares; the first time this asks Prefect for its version, and blocks."""
        with self._lock:
            shared = self._current = self._current or Shared(self._base)
            shared.users += 1
            return shared

    def give_back(self, shared: Shared) -> None:
        """Say that a run needs it no more."""
        with self._lock:
            shared.users -= 1
            is_last = shared.is_retired and shared.users == 0
        if is_last:
            shared.close()

    def retire(self, shared: Shared) -> None:
        """Give it to no further run; it is closed with the last one that has it."""
        with self._lock:
            shared.is_retired = True
            if self._current is shared:
                self._current = None

    def close(self) -> None:
        """Close what no run uses."""
        with self._lock:
            shared, self._current = self._current, None
            if shared is None:
                return
            shared.is_retired = True
            in_use = shared.users > 0
        if not in_use:
            shared.close()
