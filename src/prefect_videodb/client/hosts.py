"""Which hosts a link that the service names may lead to: a job's `output_url`, a WebSocket, a download.

A link is followed to the service itself (host and port of the base URL) and to public addresses. An address inside the
network of the worker is not reachable for the service, but for the worker: following it would read an internal page or
a cloud's metadata for whoever made the link. What counts is the address that is connected to, not the name.
"""

import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

import httpx

Origin = tuple[str, str, int]
Admits = Callable[[str], bool]

_HOST = re.compile(rb"[A-Za-z0-9._:-]+")  # a name, in its ASCII form, or an address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")
# Public by its number, and the metadata service of every virtual machine at Azure.
_METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})
_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}
_SECURE = frozenset({"https", "wss"})


class LinkRefused(Exception):
    """A link leads where none that the service names may lead."""


class PrivateAddress(LinkRefused):
    """It leads to an address that is not public."""

    def __init__(self, host: str, address: str) -> None:
        at = host if host == address else f"{host} ({address})"
        super().__init__(f"it leads to {at}, which is no public address")


def origin(url: httpx.URL) -> Origin:
    """Return where a URL leads: scheme, host and port."""
    return url.scheme, url.raw_host.decode("ascii").strip("[]"), url.port or _PORTS.get(url.scheme, 0)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, and no metadata service."""
    return _is_public(_unwrapped(address))


def _is_local_network(address: str) -> bool:
    """Whether an IP address is of this machine or a network of one's own: not link-local, not a metadata service."""
    found = _unwrapped(address)
    return not found.is_link_local and not found.is_multicast and not found.is_unspecified and found not in _METADATA


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address in _METADATA
        or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
    )


def _unwrapped(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for, if any: by mapping, 6to4, NAT64 or compatibility."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv4Address):
        return found
    if found in _NAT64 or (found in _IPV4_COMPATIBLE and int(found) > 1):
        return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.ipv4_mapped or found.sixtofour or found


@dataclass(frozen=True, slots=True)
class LinkRule:
    """Where links may lead.

    Attributes:
        base_url: the service's own, from the credentials.
        allow_private: whether links may lead into private networks and to this machine; never to metadata services.
    """

    base_url: str
    allow_private: bool = False

    def check(self, url: httpx.URL, *, came_from: httpx.URL | None = None, proxied: bool = False) -> Admits | None:
        """Check a link before it is followed, and return what the address it is connected at is checked with.

        Args:
            url: where the link leads.
            came_from: the page that redirects to it; the service when None.
            proxied: whether a proxy connects to it. Then only the proxy knows the address of a name.

        Raises:
            LinkRefused: it must not be followed.
        """
        if url.scheme not in _PORTS or not _HOST.fullmatch(url.raw_host):
            raise LinkRefused("it is no http URL")
        if url.userinfo:
            raise LinkRefused("it has a user name or a password")
        source = came_from or httpx.URL(self.base_url)
        if source.scheme in _SECURE and url.scheme not in _SECURE:
            raise LinkRefused("it leads from an encrypted connection to one that is not encrypted")
        if origin(url)[1:] == origin(httpx.URL(self.base_url))[1:]:
            return None
        admits = self._admits_private if self.allow_private else is_public
        if proxied:
            address = _literal(url.host)
            if address is not None and not admits(address):
                raise PrivateAddress(url.host, address)
        return admits

    @staticmethod
    def _admits_private(address: str) -> bool:
        return is_public(address) or _is_local_network(address)


def of_service(base_url: str) -> LinkRule:
    """Return the rule for what the client follows by itself; a service inside a network may name others inside."""
    address = _literal(httpx.URL(base_url).host)
    return LinkRule(base_url, allow_private=address is not None and not is_public(address))


def _literal(host: str) -> str | None:
    """Return the address that a host is by its spelling, also `0x7f.1` or `2130706433`; None of a name."""
    if host.rstrip(".").lower() == "localhost" or host.rstrip(".").lower().endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)[0][4][0])
    except (OSError, UnicodeError):
        return None
