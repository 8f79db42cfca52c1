"""The network loses everything for a while without a reset, once for the workers and once for the API."""

import time

import pytest

from tests.faults.load import SLOWEST_REFUSAL, Load, executed, settle
from tests.faults.network import Network
from tests.faults.push_counter import PushCounter
from tests.faults.submitters import Submitters, assert_one_job_each
from tests.poison import publish
from tests.processes import Pieces, free_port, until

CONSUMING_WITHIN = 60.0  # seconds after the network is back
RATE = 30.0
SIDES = ("workers", "api", "clients")


def start(pieces: Pieces, network: Network, side: str, redis_port: int) -> str:
    """Start all parts, those of one side behind the bad network. Returns the URL for clients."""
    pieces.redis(port=redis_port)
    publish(pieces)
    pieces.reconciler()
    if side == "api":
        with pieces.reaching_redis_at(network.port):
            pieces.api()
    else:
        pieces.api()
    if side == "workers":
        with pieces.reaching_redis_at(network.port):
            pieces.worker()
    else:
        pieces.worker()
    return f"http://127.0.0.1:{network.port}" if side == "clients" else pieces.url


@pytest.mark.parametrize("side", SIDES)
def test_jobs_survive_a_network_black_hole(stopped: Pieces, chaos: bool, figures: list[str], side: str) -> None:
    """Jobs are done again within 60 s after the network is back, and none is lost or doubled."""
    pieces, seconds, redis_port = stopped, 60.0 if chaos else 6.0, free_port()
    with Network(pieces.settings.port if side == "clients" else redis_port) as network:
        url = start(pieces, network, side, redis_port)
        clients = Submitters(url, RATE, patience=seconds + CONSUMING_WITHIN, timeout=SLOWEST_REFUSAL, job_seconds=0.02)
        with PushCounter(pieces.ledger) as pushes:
            with clients:
                until(lambda: executed(pieces).total() > RATE, 20, "jobs are done")
                with network.black_hole():
                    time.sleep(seconds)  # the length of the fault
                    before, accepted = executed(pieces).total(), len(clients.jobs)
                consuming = until(lambda: executed(pieces).total() > before, CONSUMING_WITHIN, "jobs are done again")
                until(lambda: len(clients.jobs) > accepted + RATE, CONSUMING_WITHIN, "jobs are accepted again")
            took = settle(Load(pieces.url, accepted=clients.jobs), within=30)
        doubled = assert_one_job_each(pieces.url, clients)
        assert not pushes.twice
        assert network.swallowed
    more = sum(count > 1 for count in executed(pieces).values())
    figures.append(
        f"black hole ({side}): {seconds:g} s, {network.swallowed} chunks lost; {len(clients.jobs)} accepted, "
        f"{len(clients.abandoned)} abandoned ({doubled} of which ran), answers {dict(clients.answers)}, 0 lost; jobs done again "
        f"after {consuming:.1f} s, {more} executed more than once, settled after {took:.1f} s"
    )
    if side == "api":
        assert "ReadTimeoutError" not in clients.answers  # each attempt ends within 3 s, with a 503
