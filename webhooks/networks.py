"""Which addresses a webhook may go to: those of the public internet, and those that the operator allows besides."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NAT64 = IPv6Network("64:ff9b::/96")  # the last four bytes are the IPv4 address that is meant
PUBLIC_V6 = IPv6Network("2000::/3")
NOT_PUBLIC = tuple(  # though older Pythons take them for global
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
    """``besides``: private ones that are allowed."""

    besides: tuple[Network, ...] = ()

    def names(self, address: Address) -> bool:
        """Whether the operator allows this address besides the public ones."""
        return any(_meant(address) in network for network in self.besides)

    def allow(self, address: Address) -> bool:
        return self.names(address) or _is_public(_meant(address))


def parse_networks(text: str) -> Networks:
    """Of a setting such as ``10.0.0.0/8, 127.0.0.1``; raises ValueError."""
    return Networks(tuple(_network(part.strip()) for part in text.split(",") if part.strip()))


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}: give addresses and networks such as 10.0.0.0/8, separated by commas") from None


def _meant(address: Address) -> Address:
    """The IPv4 address that stands inside of an IPv6 one, if it is that which will be reached."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in PUBLIC_V6:
        return False
    special = address.is_private or address.is_multicast or address.is_reserved
    return address.is_global and not special and not any(address in network for network in NOT_PUBLIC)
