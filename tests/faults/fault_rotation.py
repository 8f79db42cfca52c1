"""Faults of a running service, one after another: each is named, done to the part that it is for, and told."""

import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from tests.processes import Running, until
from tests.server_clock import ServerClock
from tests.service import Service

REDIS_FROZEN = 3.0  # seconds
CLOCK_STEPS = (600, 0, -600, 0)  # seconds from the true time: two steps forward, two back


@dataclass
class FaultRotation:
    """``second_group``: of workers that the service does not supervise; ``revive`` starts it again if it has exited."""

    service: Service
    clock: ServerClock
    start_group: Callable[[], Running]
    done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.second_group = self.start_group()
        self.revived = 0
        self._steps = 0

    def revive(self) -> None:
        if self.second_group.popen.poll() is not None:
            self.second_group = self.start_group()
            self.revived += 1

    def kill_group(self) -> None:
        self._part("predict").kill()

    def kill_worker_process(self) -> None:
        self._part("predict").children()[0].kill()

    def kill_reconciler(self) -> None:
        self._part("reconciler").kill()

    def kill_api(self) -> None:
        self._part("api").kill()

    def kill_redis(self) -> None:
        self._part("redis").kill()

    def freeze_redis(self) -> None:
        redis = self._part("redis")
        redis.suspend()
        time.sleep(REDIS_FROZEN)  # it is time that passes here
        redis.resume()

    def freeze_group(self) -> None:
        """For two leases, with what it has in hand."""
        self.second_group.signal_all(signal.SIGSTOP)
        time.sleep(2 * self.service.settings.lease)  # it is time that passes here
        self.second_group.signal_all(signal.SIGCONT)

    def set_clock(self) -> None:
        """Redis's, by ten minutes."""
        self.clock.set(CLOCK_STEPS[self._steps % len(CLOCK_STEPS)])
        self._steps += 1

    def terminate_group(self) -> None:
        self._part("predict").terminate()

    def next(self, faults: tuple[str, ...]) -> str:
        name = faults[len(self.done) % len(faults)]
        getattr(self, name)()
        self.done.append(name)
        return name

    def _part(self, name: str) -> psutil.Process:
        """Once it is there, with its children."""
        until(lambda: self._found(name), 30, f"{name} runs")
        return self.service.children()[name]

    def _found(self, name: str) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            part = self.service.children().get(name)
            return part is not None and (name != "predict" or len(part.children()) == self.service.settings.predict_workers)
        return False


ALL = (
    *("kill_group", "kill_redis", "set_clock", "kill_api", "kill_worker_process", "freeze_redis", "kill_reconciler"),
    *("freeze_group", "terminate_group"),
)
FEW = ("kill_group", "kill_redis", "set_clock", "kill_api")
