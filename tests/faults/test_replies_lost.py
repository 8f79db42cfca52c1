"""A proxy drops one reply in ten after the request was carried out. Includes the control arm."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests

from mldeploy.client import Client
from tests.faults.load import Announcements, Load, Submitted, settle
from tests.poison import row
from tests.processes import Pieces
from tests.proxy import Proxy, Reply

Assemble = Callable[..., Pieces]
Figures = list[str]
SENDERS = 4


def one_in_ten(reply: Reply) -> bool:
    return reply.number % 10 == 0


def test_lost_replies_create_no_second_job(assemble: Assemble, chaos: bool, figures: Figures) -> None:
    """Each submission is one job, done once and final once, however often it was sent."""
    pieces, many = assemble(), 20_000 if chaos else 200
    pieces.worker()
    announced, load = Announcements(pieces.ledger), Load(pieces.url)
    with Proxy(pieces.settings.port, drop=one_in_ten) as proxy, ThreadPoolExecutor(SENDERS) as senders:
        for sent in senders.map(lambda first: send(proxy.url, range(first, many + 1, SENDERS)), range(1, SENDERS + 1)):
            load.accepted += sent
        assert len(proxy.dropped) >= many // 10
        assert len(proxy.replies) == many + len(proxy.dropped)
    took = settle(load, within=30)
    jobs = {job.label: job.id for job in Client(pieces.url).jobs(model="poison")}
    ids = [job.id for job in Client(pieces.url).jobs()]
    assert jobs == {str(job.number): job.job_id for job in load.accepted}
    assert len(ids) == len(jobs) == many
    assert announced.drain() == Counter(ids)
    announced.close()
    assert executed(pieces) == Counter(range(1, many + 1))
    figures.append(f"{many} submissions, {len(proxy.dropped)} replies lost, {len(ids)} jobs, settled after {took:.1f} s")


def send(url: str, numbers: range) -> list[Submitted]:
    """Send through a client that repeats failed requests."""
    client = Client(url)
    return [Submitted(client.predict(row(n), model="poison", label=str(n)).id, n, "work") for n in numbers]


def executed(pieces: Pieces) -> Counter[int]:
    """Return the executions without row 0, on which a worker tries the model."""
    numbers = Counter(int(number) for number in (pieces.folder / "poison-executions.log").read_text().split())
    del numbers[0]
    return numbers


def test_without_idempotency_keys_repeated_requests_run_twice(assemble: Assemble, figures: Figures) -> None:
    """This is the control arm."""
    pieces, many = assemble(), 30
    with Proxy(pieces.settings.port, drop=one_in_ten) as proxy:
        for number in range(many):
            while not submitted(proxy.url, number):
                pass
    jobs = Counter(job.label for job in Client(pieces.url).jobs())
    assert sum(jobs.values()) == many + len(proxy.dropped) > many
    figures.append(f"control arm: {many} submissions without Idempotency-Key were {sum(jobs.values())} jobs")


def submitted(url: str, number: int) -> bool:
    try:
        answer = requests.post(f"{url}/predict?model=poison&label={number}", json=row(number), timeout=20)
    except requests.ConnectionError:
        return False
    return answer.status_code == 202
