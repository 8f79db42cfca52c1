"""Checks the URL of a webhook when a job is submitted, without a DNS lookup."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from webhooks.networks import Address, Networks

MAX_URL = 2000  # characters
MAX_NAME = 253  # characters of a host name
PORTS = {"https": 443, "http": 80}
AUTHORITY = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[^\[\]:@]+))(?::(?P<port>[0-9]{1,5}))?")
LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a host whose last label matches is an IPv4 address, to the system and to browsers
LOCAL_NAMES = {"localhost", "localdomain", "internal", "metadata", "instance-data"}  # last labels


ALLOW_HINT = " (the server's MLDEPLOY_WEBHOOK_NETWORKS may allow other networks, also with http)"


class BadWebhook(ValueError):
    """The webhook's URL cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook is sent. ``host`` is in lower-case ASCII, an IPv6 address without its brackets."""

    scheme: str
    host: str
    port: int
    path_and_query: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def check_url(text: str, networks: Networks) -> Target:
    """Raises BadWebhook."""
    if len(text) > MAX_URL:
        raise BadWebhook(f"the URL is longer than {MAX_URL} characters")
    if not text.isprintable() or " " in text:
        raise BadWebhook("the URL has a space or a control character in it: percent-encode it")
    start, mark, rest = text.partition("://")
    scheme = start.lower()
    if not mark or scheme not in PORTS:
        raise BadWebhook("the URL must begin with https://")
    if "#" in rest:
        raise BadWebhook("the URL has a fragment (#), which is never sent: leave it out")
    authority, path_and_query = _split(rest)
    address, host, port = _authority(authority)
    if scheme == "http" and not (address and networks.is_allowed_explicitly(address)):
        raise BadWebhook(f"the URL must begin with https://{ALLOW_HINT}")
    if address and not networks.allow(address):
        raise BadWebhook(f"{host} is not a public address{ALLOW_HINT}")
    return Target(scheme, host, port or PORTS[scheme], path_and_query)


def _split(rest: str) -> tuple[str, str]:
    """Splits the URL after its scheme into authority and path with query."""
    end = re.search(r"[/?]|$", rest)
    authority, path = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    if not path.isascii():
        raise BadWebhook("the URL's path or query has letters that are not ASCII: percent-encode them")
    return authority, path if path.startswith("/") else "/" + path


def _authority(authority: str) -> tuple[Address | None, str, int | None]:
    """The address if the host is a literal one, the host, and the port if there is one."""
    if "@" in authority:
        raise BadWebhook("the URL has a user name in it: leave it out, the signature identifies the sender")
    found = AUTHORITY.fullmatch(authority)
    if not found:
        raise BadWebhook("the URL needs a host, and may have a port: https://example.com:8443/path")
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 1 <= port <= 65535:
        raise BadWebhook("the URL's port must be between 1 and 65535")
    address = _literal(found["v6"]) if found["v6"] else None
    host = str(address) if address else _name(found["name"])
    if NUMBER.fullmatch(host.rpartition(".")[2]):
        address = _literal(host)
    return address, host, port


def _name(name: str) -> str:
    """The name in ASCII. A name that IDNA changes is rejected, because it may imitate another."""
    try:
        host = name.lower() if name.isascii() else name.encode("idna").decode().lower()
        changed = not name.isascii() and host.encode().decode("idna") != name.lower()
    except UnicodeError:
        changed = True
    if changed:
        raise BadWebhook(f"the host {name!r} cannot be written as it is: give it as xn--…")
    labels = host.split(".")
    if len(host) > MAX_NAME or not all(LABEL.fullmatch(label) for label in labels):
        raise BadWebhook(f"{name!r} is not a host name")
    if labels[-1] in LOCAL_NAMES:
        raise BadWebhook(f"{name} is not a public name")
    return host


def _literal(text: str) -> Address:
    """The address in its standard notation only: the system also accepts 0x7f.1 and 2130706433 for 127.0.0.1."""
    try:
        return IPv6Address(text) if ":" in text else IPv4Address(text)
    except AddressValueError:
        raise BadWebhook(f"{text} is not an IP address: write four decimal numbers, or an IPv6 address in brackets") from None
