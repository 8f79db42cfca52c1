"""Wake-ups are repeated or lost, and reconcilers are killed or run twice."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import cast

from jobs.job import Kind
from jobs.wakeup import WakeupSender, make_celery
from settings import Settings
from tests.faults.load import SLOWEST_REFUSAL, Announcements, Load, executed, settle
from tests.processes import Pieces, until

Assemble = Callable[..., Pieces]
Figures = list[str]
RESTLESS = {"time_slice": 0.2, "worker_idle_timeout": 0.0}  # workers are idle for a moment only: nearly all work needs a wake-up
AT_ONCE = 4


class Echo:
    """Delivers each wake-up twice more, and every second one twice more again at the same moment."""

    def __init__(self, pieces: Pieces) -> None:
        self.wakeups = 0
        self._ledger = pieces.ledger
        self._wakeup_sender = WakeupSender(make_celery(pieces.settings))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._echo, daemon=True)

    def __enter__(self) -> "Echo":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def _echo(self) -> None:
        known = set[bytes]()
        while not self._over.wait(0.002):
            on_their_way = cast("list[bytes]", self._ledger.redis.zrange(f"{self._ledger.prefix}bells:predict", 0, -1))
            for wakeup in set(on_their_way) - known:
                known.add(wakeup)
                more = AT_ONCE if len(known) % 2 else 2
                self._wakeup_sender.send([(str(Kind.PREDICT), wakeup.decode())] * more)
                self.wakeups += 1


def done_once(pieces: Pieces, announced: Announcements, load: Load) -> None:
    """Check that each accepted job was done once and became final once, and nothing else did."""
    assert executed(pieces) == Counter(job.number for job in load.accepted)
    ended_once(announced, load)


def ended_once(announced: Announcements, load: Load) -> None:
    assert announced.drain() == Counter(job.job_id for job in load.accepted)
    announced.close()


def test_repeated_wakeups_run_no_job_twice(assemble: Assemble, chaos: bool, figures: Figures) -> None:
    pieces = assemble(**RESTLESS)
    for name in "AB":
        pieces.worker(name=name)
    announced = Announcements(pieces.ledger)
    with Echo(pieces) as echo, Load(pieces.url, seconds=0.005).backlog(30) as load:
        many = 10_000 if chaos else 100
        until(lambda: len(load.accepted) >= many, 600, "the load is sent")
    took = settle(load, within=20)
    done_once(pieces, announced, load)
    assert echo.wakeups >= 5
    figures.append(
        f"{echo.wakeups} wake-ups, each sent three or five times; {len(load.accepted)} jobs, settled after {took:.1f} s"
    )


def serving(pieces: Pieces) -> bool:
    return bool(pieces.ledger.redis.exists(pieces.ledger.prefix + "serving:predict"))


def test_lost_wakeups_lose_no_job(assemble: Assemble, chaos: bool, figures: Figures, tmp_path: Path) -> None:
    """Wake-ups go to a broker that nobody reads: the worker finds by itself that work waits."""
    deaf = Pieces(Settings(), tmp_path / "deaf")
    deaf.redis()
    try:
        pieces = assemble(broker_url=deaf.settings.broker, predict_workers=1, **RESTLESS)
        pieces.settings = pieces.settings.replace(broker_url="")
        announced = Announcements(pieces.ledger)
        load = Load(pieces.url).backlog(1)
        pieces.worker()
        waits = list[float]()
        for _ in range(30 if chaos else 4):
            until(lambda: not serving(pieces), 20, "nobody serves any more")
            before = executed(pieces).total()
            load.backlog(5)
            waits.append(until(lambda: executed(pieces).total() >= before + 5, 10, "they are done"))  # noqa: B023
        took = settle(load, within=20)
        done_once(pieces, announced, load)
        lost = sum(deaf.ledger.redis.llen(key) for key in deaf.ledger.redis.scan_iter("*:celery:predict"))
        assert lost >= len(waits)
        assert (load.slowest < SLOWEST_REFUSAL, load.refused) == (True, Counter())
        figures.append(
            f"{lost} wake-ups, all lost; {len(load.accepted)} accepted, 0 lost, done after {max(waits):.1f} s at most, "
            f"settled after {took:.1f} s"
        )
    finally:
        deaf.stop()


def test_killed_and_duplicate_reconcilers_lose_no_job(assemble: Assemble, chaos: bool, figures: Figures) -> None:
    pieces = assemble(lease=2.0)
    reconcilers = [next(piece for piece in pieces._running if piece.name == "reconciler"), pieces.reconciler()]
    groups = [pieces.worker(name=name) for name in "AB"]
    announced = Announcements(pieces.ledger)
    with Load(pieces.url, seconds=0.05).backlog(100) as load:
        for turn in range(50 if chaos else 2):
            until(lambda: pieces.ledger.redis.keys(pieces.ledger.prefix + "held:*"), 20, "work is in hand")
            if turn % 2:
                groups[turn // 2 % 2].kill()  # only a reconciler releases its work
            reconcilers[turn % 2].kill()
            reconcilers[turn % 2] = pieces.reconciler()
            if turn % 2:
                groups[turn // 2 % 2] = pieces.worker(name="AB"[turn // 2 % 2])
    took = settle(load, within=pieces.settings.lease + 10)
    ended_once(announced, load)
    records = pieces.ledger.get_many([job.job_id for job in load.accepted])
    attempts = Counter(record.attempts for record in records if record)
    assert set(attempts) > {1}  # some jobs were released
    figures.append(
        f"killed reconcilers: {len(load.accepted)} accepted, 0 lost, settled {took:.1f} s after the load; "
        f"{len(load.accepted) - attempts[1]} jobs released by one of two reconcilers, each once"
    )
