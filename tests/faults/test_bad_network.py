"""The connections from the workers and from the API to Redis have 200 ms of latency and 1 % resets."""

import time
from collections import Counter

from jobs.job import Kind
from jobs.wakeup import WakeupSender, make_celery
from tests.faults.load import Load, executed, settle
from tests.faults.network import Network
from tests.faults.push_counter import PushCounter
from tests.faults.submitters import Submitters, assert_one_job_each
from tests.poison import publish
from tests.processes import Pieces, Running, free_port

LATENCY = 0.2  # seconds
RESET_SHARE = 0.01
SHORT_RESET_SHARE = 0.1  # of the workers' connections: in a short time more, to meet each command
RATE = 30.0
ENDS_WITHIN = 60.0  # seconds


def restarted(pieces: Pieces, network: Network, workers: list[Running]) -> int:
    """Start the processes that have exited again, as supervision does. Returns how many."""
    exited = [place for place, worker in enumerate(workers) if worker.popen.poll() is not None]
    for place in exited:
        with pieces.reaching_redis_at(network.port):
            workers[place] = pieces.worker(name=workers[place].name)
    return len(exited)


def test_slow_network_with_resets_loses_no_job(stopped: Pieces, chaos: bool, figures: list[str]) -> None:
    pieces, redis_port, exits = stopped, free_port(), 0
    seconds, reset_share = (600.0, RESET_SHARE) if chaos else (8.0, SHORT_RESET_SHARE)
    with Network(redis_port) as of_api, Network(redis_port) as of_workers:
        pieces.redis(port=redis_port)
        publish(pieces)
        pieces.reconciler()
        with pieces.reaching_redis_at(of_api.port):
            pieces.api()
        with pieces.reaching_redis_at(of_workers.port):
            workers = pieces.groups("A", "B")
        of_api.become(LATENCY, RESET_SHARE)
        of_workers.become(LATENCY, reset_share)
        clients = Submitters(pieces.url, RATE, clients=32, job_seconds=0.01, limit=int(RATE * seconds))
        with PushCounter(pieces.ledger) as pushes:
            with clients:
                while len(clients.log) < clients.limit:
                    exits += restarted(pieces, of_workers, workers)
                    pushes.wait(0.5)
                clients.join()
            for network in (of_api, of_workers):
                network.become(0.0, 0.0)
            end = time.monotonic() + ENDS_WITHIN
            while not {job.job_id for job in clients.jobs} <= set(pushes.counts):
                open_jobs = {job.job_id for job in clients.jobs} - set(pushes.counts)
                assert time.monotonic() < end, f"{len(open_jobs)} jobs have not ended after {ENDS_WITHIN:g} s"
                exits += restarted(pieces, of_workers, workers)
                pushes.wait(0.5)
        took = settle(Load(pieces.url, accepted=clients.jobs), within=30)
        doubled = assert_one_job_each(pieces.url, clients)
    runs = Counter(executed(pieces).values())
    resets = [f"{network.resets} of {network.chunks}" for network in (of_api, of_workers)]
    figures.append(
        f"{seconds:g} s with {LATENCY:g} s latency, {' and '.join(resets)} chunks reset (API, workers); {len(clients.jobs)} "
        f"accepted, {len(clients.abandoned)} abandoned ({doubled} of which ran), answers {dict(clients.answers)}, 0 lost, "
        f"{len(pushes.twice)} ended twice; {runs.total() - runs[1]} executed more than once, {exits} workers exited, "
        f"settled after {took:.1f} s"
    )
    assert of_workers.resets > 10
    assert not pushes.twice
    assert clients.answers["202"] > 0.9 * clients.limit


def test_resets_by_the_broker_are_not_taken_for_waiting_messages(stopped: Pieces) -> None:
    redis_port = free_port()
    stopped.redis(port=redis_port)
    with Network(redis_port) as network, stopped.reaching_redis_at(network.port):
        network.become(latency=0.0, reset_share=0.15)  # some connections are made, and are reset at a later command
        for _ in range(4):
            assert WakeupSender(make_celery(stopped.settings)).waiting(Kind.PREDICT) == 0
    assert network.resets
