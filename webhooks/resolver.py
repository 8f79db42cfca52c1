"""From a target to the one address that is connected to. It is looked up once: a name that answers otherwise the next time
(DNS rebinding) gains nothing."""

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

PATIENCE = 10.0  # seconds for the DNS

LookUp = Callable[..., Sequence[Any]]  # socket.getaddrinfo


class NoAddress(Exception):
    """There is no address to connect to; the message says why."""


class Refused(NoAddress):
    """The name leads to an address that is neither public nor allowed."""


class Unresolvable(NoAddress):
    """The name leads nowhere."""


def resolve(target: Target, networks: Networks, look_up: LookUp = socket.getaddrinfo, patience: float = PATIENCE) -> str:
    """The first address of the target's host, if all of them are allowed. Raises Refused or Unresolvable."""
    found = [str(sockaddr[0]) for *_, sockaddr in _answers(target, look_up, patience)]
    for address in found:
        if not networks.allow(ip_address(address)):
            log.warning("no webhook to %s: it leads to %s, which is not a public address", target.host, address)
            raise Refused(_no_address(target))
    if not found:
        raise Unresolvable(_no_address(target))
    return found[0]


def _no_address(target: Target) -> str:
    """The same for all reasons: whoever gives the URL is not to learn what this network calls its own."""
    return f"{target.host} has no public address"


def _answers(target: Target, look_up: LookUp, patience: float) -> Sequence[Any]:
    """In a thread of its own, which is left behind if it takes too long: nothing else bounds the system's resolver."""
    answers: queue.SimpleQueue[Sequence[Any] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(look_up(target.host, target.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        told = answers.get(timeout=patience)
    except queue.Empty:
        raise Unresolvable(f"{target.host} could not be looked up within {patience:g} s") from None
    if isinstance(told, Exception):
        log.info("%s cannot be looked up: %s", target.host, told)
        raise Unresolvable(_no_address(target)) from told
    return told
