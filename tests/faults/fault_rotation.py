"""Faults that are injected into a running service one after another."""

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
    """Injects faults. ``second_group`` are workers that the service does not supervise; ``revive`` restarts them if they
    exited."""

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
        time.sleep(REDIS_FROZEN)  # the length of the fault
        redis.resume()

    def freeze_group(self) -> None:
        """Freeze the second group for two leases, with the work in its hands."""
        self.second_group.signal_all(signal.SIGSTOP)
        time.sleep(2 * self.service.settings.lease)  # the length of the fault
        self.second_group.signal_all(signal.SIGCONT)

    def set_clock(self) -> None:
        """Set Redis's clock by ten minutes."""
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
        """Return the part once it runs with its children."""
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
