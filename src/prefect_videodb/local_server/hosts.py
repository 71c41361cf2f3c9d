"""Which names the server answers to.

A page in a browser may have its own name lead to 127.0.0.1 (DNS rebinding): the browser then takes this server for the
page's own, and lets the page read its answers. The `Host` header tells: it holds the page's name.
"""

import ipaddress
import re
import socket
from collections.abc import Collection

# Answers hold the caller's Host header; one that is no host would let a caller write what it likes into them.
_HOST = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on a host."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return False
    # An empty host listens on every address.
    return bool(host) and all(ipaddress.ip_address(str(entry[4][0])).is_loopback for entry in found)


class HostCheck:
    """Whether the `Host` header of a request names this server.

    Args:
        bound: the host that it listens on.
        allowed: further names, as of a service of containers.
    """

    def __init__(self, bound: str, allowed: Collection[str] = ()) -> None:
        self._is_loopback = is_loopback(bound)
        self._names = {*_LOOPBACK_NAMES, *map(_plain, [bound, *allowed])}

    def is_host(self, header: str) -> bool:
        """Whether the header is a host at all."""
        return _HOST.fullmatch(header) is not None

    def is_local(self, header: str) -> bool:
        """Whether only this machine can have sent a request with this `Host` header."""
        match = _HOST.fullmatch(header)
        return self._is_loopback and match is not None and _plain(match["name"]) in _LOOPBACK_NAMES

    def admits(self, header: str, local_address: str | None) -> bool:
        """Whether a request with this header is for this server.

        Args:
            header: the `Host` header.
            local_address: the address of this machine that the request came to; a page cannot have it as its name.
        """
        match = _HOST.fullmatch(header)
        if match is None:
            return False
        name = _plain(match["name"])
        return name in self._names or (local_address is not None and name == _plain(local_address))


def _plain(host: str) -> str:
    name = host.strip("[]").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
