"""The URL that a caller gives: checked when a job is submitted, without asking the DNS."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from webhooks.networks import Address, Networks

LONGEST = 2000
MAX_NAME = 253
PORTS = {"https": 443, "http": 80}
AUTHORITY = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[^\[\]:@]+))(?::(?P<port>[0-9]{1,5}))?")
LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as a last label it makes the whole an IPv4 address, to the system and to browsers
OF_THE_MACHINE = {"localhost", "localdomain", "internal", "metadata", "instance-data"}  # last labels


UNLESS = " (the server's MLDEPLOY_WEBHOOK_NETWORKS may name networks that are told all the same, also by http)"


class BadWebhook(ValueError):
    """A webhook's URL cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send. ``host`` is in ASCII and lower case, an IPv6 address without its brackets."""

    scheme: str
    host: str
    port: int
    path_and_query: str

    @property
    def authority(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def check_url(text: str, networks: Networks) -> Target:
    """Raises BadWebhook."""
    if len(text) > LONGEST:
        raise BadWebhook(f"the URL is longer than {LONGEST} characters")
    if not text.isprintable() or " " in text:
        raise BadWebhook("the URL has a space or a control character in it: percent-encode it")
    start, mark, rest = text.partition("://")
    scheme = start.lower()
    if not mark or scheme not in PORTS:
        raise BadWebhook("the URL must begin with https://")
    if "#" in rest:
        raise BadWebhook("the URL has a fragment (#), which is never sent: leave it out")
    authority, path_and_query = _parted(rest)
    address, host, port = _authority(authority)
    if scheme == "http" and not (address and networks.names(address)):
        raise BadWebhook(f"the URL must begin with https://{UNLESS}")
    if address and not networks.allow(address):
        raise BadWebhook(f"{host} is not a public address{UNLESS}")
    return Target(scheme, host, port or PORTS[scheme], path_and_query)


def _parted(rest: str) -> tuple[str, str]:
    """What follows the scheme: authority, and path with query."""
    end = re.search(r"[/?]|$", rest)
    authority, path = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    if not path.isascii():
        raise BadWebhook("the URL's path or query has letters that are not ASCII: percent-encode them")
    return authority, path if path.startswith("/") else "/" + path


def _authority(authority: str) -> tuple[Address | None, str, int | None]:
    """The literal address if it is one, the host and the port if it names one."""
    if "@" in authority:
        raise BadWebhook("the URL has a user name in it: leave it out, the signature tells who sends")
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
    """In ASCII. A name that IDNA would turn into another is refused: it may be meant to look like something else."""
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
    if labels[-1] in OF_THE_MACHINE:
        raise BadWebhook(f"{name} is not a public name")
    return host


def _literal(text: str) -> Address:
    """Only in its usual spelling: the system takes 0x7f.1 and 2130706433 for 127.0.0.1."""
    try:
        return IPv6Address(text) if ":" in text else IPv4Address(text)
    except AddressValueError:
        raise BadWebhook(f"{text} is not an IP address: write four decimal numbers, or an IPv6 address in brackets") from None
