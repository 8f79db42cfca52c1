"""A worker is killed after Redis has run its finish script and before it reads the reply."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from tests.faults.load import Load, Submitted, executed, settle
from tests.faults.push_counter import PushCounter
from tests.faults.submitters import Submitters
from tests.poison import publish
from tests.processes import Pieces, Running, free_port, until
from tests.proxy import Proxy, Reply

RATE = 60.0


@dataclass
class Executioner:
    """Kills the group's worker process where the reply to a finish begins; ``hits`` are the jobs that had ended by then.

    The same script call claims the next work. The next kill waits until that has ended: a job that is alone with three dying
    workers fails, whatever killed them.
    """

    pieces: Pieces
    kills: int
    hits: list[list[str]] = field(default_factory=list)
    misses: int = 0
    handed_out: list[str] = field(default_factory=list)
    group: Running | None = None

    def __post_init__(self) -> None:
        scripts = [self.pieces.ledger.script(name) for name in ("finish_and_claim", "finish", "claim")]
        for script in scripts:  # no reply says that it is not known
            self.pieces.ledger.redis.script_load(script.script)
        self._finishes = [script.sha for script in scripts[:2]]

    def drops(self, reply: Reply) -> bool:
        """Decide whether the reply is lost with the worker."""
        finish = next((sha for sha in self._finishes if sha in reply.request), None)
        if self.group is None or len(self.hits) >= self.kills or finish is None:
            return False
        if len(self._ended(self.handed_out)) < len(self.handed_out):
            return False
        children = self.group.family[1:]
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        words = reply.request[reply.request.index(finish) :].split("\r\n")
        ended = self._ended([word for word in words if self.pieces.ledger.verifies(word)])
        if ended and children:
            self.hits.append(ended)
        else:
            self.misses += 1
        self.handed_out = [job_id for key in self._held() for job_id in self._members(key)]
        return True

    def _ended(self, ids: list[str]) -> list[str]:
        return [record.id for record in self.pieces.ledger.get_many(ids) if record and record.state.final]

    def _held(self) -> list[bytes]:
        return list(self.pieces.ledger.redis.scan_iter(f"{self.pieces.ledger.prefix}held:*"))

    def _members(self, key: bytes) -> list[str]:
        return [job_id.decode() for job_id in cast("list[bytes]", self.pieces.ledger.redis.zrange(key, 0, -1))]


def test_worker_killed_after_its_finish_changes_no_result(stopped: Pieces, chaos: bool, figures: list[str]) -> None:
    """Jobs that have ended do not change and are not claimed again."""
    pieces, kills, redis_port = stopped, 200 if chaos else 6, free_port()
    pieces.settings = pieces.settings.replace(predict_workers=1)
    pieces.redis(port=redis_port)
    publish(pieces)
    pieces.reconciler()
    pieces.api()
    executioner = Executioner(pieces, kills)
    with Proxy(redis_port, drop=executioner.drops) as proxy, PushCounter(pieces.ledger) as pushes:
        with pieces.reaching_redis_at(proxy.port):
            executioner.group = pieces.worker()
        with Submitters(pieces.url, RATE) as clients:
            until(lambda: len(executioner.hits) == kills, 5.0 * kills + 20, "all kills are done")
        load = Load(pieces.url, accepted=clients.jobs)
        took = settle(load, within=60)
    victims = {job_id for hit in executioner.hits for job_id in hit}
    again = done_again(pieces, load.accepted, victims)
    figures.append(
        f"{kills} kills after a finish ({executioner.misses} more missed one), with {len(victims)} jobs in them: "
        f"{len(again)} of these done again, {len(pushes.twice)} ended twice; {len(load.accepted)} accepted, 0 lost, "
        f"settled after {took:.1f} s"
    )
    assert not again
    assert not pushes.twice
    assert executioner.misses <= kills / 10


def done_again(pieces: Pieces, jobs: list[Submitted], victims: set[str]) -> list[int]:
    """Return the numbers that were executed again after their job had ended."""
    runs = executed(pieces)
    records = {record.id: record for record in pieces.ledger.get_many([job.job_id for job in jobs]) if record}
    return [job.number for job in jobs if job.job_id in victims and runs[job.number] > records[job.job_id].attempts]
