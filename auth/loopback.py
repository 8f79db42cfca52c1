"""Loopback addresses, which need no key."""

import ipaddress
from functools import lru_cache


@lru_cache(100)
def is_loopback(host: str) -> bool:
    """Whether this name or address always means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
