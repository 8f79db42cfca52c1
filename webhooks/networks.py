"""The addresses that a webhook may go to: public ones, and those that the operator allows in addition."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NAT64 = IPv6Network("64:ff9b::/96")  # the last four bytes are the IPv4 address
PUBLIC_V6 = IPv6Network("2000::/3")
SPECIAL_NETWORKS = tuple(  # that some Python versions take for global
    ip_network(text)
    for text in (
        "192.0.0.0/24",  # of protocols; some clouds' metadata
        "192.88.99.0/24",  # relays of 6to4
        "168.63.129.16/32",  # the metadata service of Azure
        "2002::/16",  # 6to4, which carries IPv4 addresses
        "3fff::/20",  # for documentation
    )
)


@dataclass(frozen=True, slots=True)
class Networks:
    """``allowed``: networks that the operator allows although they are not public."""

    allowed: tuple[Network, ...] = ()

    def is_allowed_explicitly(self, address: Address) -> bool:
        """Whether the operator has allowed this address explicitly."""
        return any(_effective_address(address) in network for network in self.allowed)

    def allow(self, address: Address) -> bool:
        return self.is_allowed_explicitly(address) or _is_public(_effective_address(address))


def parse_networks(text: str) -> Networks:
    """Parses a setting such as ``10.0.0.0/8, 127.0.0.1``. Raises ValueError."""
    return Networks(tuple(_network(part.strip()) for part in text.split(",") if part.strip()))


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}: give addresses and networks such as 10.0.0.0/8, separated by commas") from None


def _effective_address(address: Address) -> Address:
    """The IPv4 address that is embedded in an IPv6 address, if that is the one to be reached; otherwise the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in PUBLIC_V6:
        return False
    special = address.is_private or address.is_multicast or address.is_reserved
    return address.is_global and not special and not any(address in network for network in SPECIAL_NETWORKS)
