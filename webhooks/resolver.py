"""Resolves a target to the one address that is connected to. The name is looked up only once, which prevents DNS rebinding."""

import logging
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from webhooks.networks import Networks
from webhooks.url import Target

log = logging.getLogger("mldeploy.webhooks")

LOOKUP_TIMEOUT = 10.0  # seconds

LookUp = Callable[..., Sequence[Any]]  # socket.getaddrinfo


class NoAddress(Exception):
    """There is no address to connect to; the message says why."""


class Refused(NoAddress):
    """The name resolves to an address that is neither public nor allowed."""


class Unresolvable(NoAddress):
    """The name does not resolve."""


def resolve(target: Target, networks: Networks, look_up: LookUp = socket.getaddrinfo, timeout: float = LOOKUP_TIMEOUT) -> str:
    """The first address of the target's host, if all of them are allowed. Raises Refused or Unresolvable."""
    found = [str(sockaddr[0]) for *_, sockaddr in _look_up(target, look_up, timeout)]
    for address in found:
        if not networks.allow(ip_address(address)):
            log.warning("no webhook to %s: it resolves to %s, which is not a public address", target.host, address)
            raise Refused(_no_address(target))
    if not found:
        raise Unresolvable(_no_address(target))
    return found[0]


def _no_address(target: Target) -> str:
    """The same text for all reasons, so that a caller cannot explore the internal network."""
    return f"{target.host} has no public address"


def _look_up(target: Target, look_up: LookUp, timeout: float) -> Sequence[Any]:
    """Runs the lookup in a thread, which is abandoned on a time-out: the system's resolver has no time-out of its own."""
    results: queue.SimpleQueue[Sequence[Any] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(look_up(target.host, target.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            results.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        result = results.get(timeout=timeout)
    except queue.Empty:
        raise Unresolvable(f"{target.host} could not be looked up within {timeout:g} s") from None
    if isinstance(result, Exception):
        log.info("%s cannot be looked up: %s", target.host, result)
        raise Unresolvable(_no_address(target)) from result
    return result
