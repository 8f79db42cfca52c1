"""The API is killed in the middle of requests, and clients without a response send theirs again."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import requests

from mldeploy.client import Client
from tests.faults.load import Load, Submitted, executed, settle
from tests.poison import row
from tests.processes import Pieces, until

Assemble = Callable[..., Pieces]
Figures = list[str]
SENDERS = 8
ROUND = 40  # submissions around one kill


@dataclass
class Senders:
    """Clients that send each submission under one Idempotency-Key until it is answered."""

    url: str
    accepted: list[Submitted] = field(default_factory=list)
    cut: int = 0
    repeated: int = 0

    def send(self, number: int) -> None:
        headers = {"Idempotency-Key": f"number-{number}"}
        while True:
            try:
                url = f"{self.url}/predict?model=poison&label={number}"
                answer = requests.post(url, json=row(number), headers=headers, timeout=20)
                break
            except requests.ConnectionError as error:
                self.cut += "refused" not in str(error)
                time.sleep(0.05)
        assert answer.status_code == 202, answer.text
        self.repeated += answer.headers.get("Idempotency-Replayed") == "true"
        self.accepted.append(Submitted(answer.json()["id"], number, "work"))


def test_killed_api_loses_and_doubles_no_job(assemble: Assemble, chaos: bool, figures: Figures) -> None:
    """Each Idempotency-Key is one job, and each job that got a 202 ends."""
    pieces, kills = assemble(), 200 if chaos else 4
    pieces.worker()
    senders, api = Senders(pieces.url), next(running for running in pieces._running if running.name == "api")
    with ThreadPoolExecutor(SENDERS) as pool:
        for turn in range(kills):
            sent = [pool.submit(senders.send, turn * ROUND + number) for number in range(1, ROUND + 1)]
            enough = turn * ROUND + random.randint(1, ROUND // 2)
            until(lambda: len(senders.accepted) >= enough, 30, "requests are answered")  # noqa: B023
            api.kill()
            api = pieces.api()
            for each in sent:
                each.result()
    assert senders.cut >= kills
    load = Load(pieces.url, accepted=senders.accepted)
    took = settle(load, within=30)
    jobs = Counter((job.label, job.id) for job in Client(pieces.url).jobs(model="poison"))
    assert jobs == Counter((str(job.number), job.job_id) for job in load.accepted)
    assert set(Counter(label for label, _ in jobs).values()) == {1}
    assert executed(pieces) == Counter(range(1, kills * ROUND + 1))
    figures.append(
        f"{kills} kills of the API, {senders.cut} requests cut, of which {senders.repeated} had been carried out; "
        f"{len(jobs)} submissions, {len(jobs)} jobs, settled after {took:.1f} s"
    )
