"""Control groups of version 1 that limit the memory or processes of a test. Skips where there are none."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.processes import until


class ControlGroup:
    def __init__(self, controller: str) -> None:
        top = Path("/sys/fs/cgroup") / controller
        self.folder = top / f"mldeploy-test-{uuid4().hex[:8]}"
        self._before = top / _path_of_ours(controller).lstrip("/")
        try:
            self.folder.mkdir()
        except OSError as error:
            pytest.skip(f"a control group takes root, and version 1 of them: {error}")

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Start the processes of the block in the group, where they stay."""
        self.add(os.getpid())
        try:
            yield
        finally:
            (self._before / "cgroup.procs").write_text(str(os.getpid()))

    def add(self, pid: int) -> None:
        (self.folder / "cgroup.procs").write_text(str(pid))

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def write(self, name: str, value: int) -> None:
        (self.folder / name).write_text(str(value))

    def remove(self) -> None:
        """Remove the group once everything in it has ended."""
        until(lambda: not self.read("cgroup.procs"), 10, f"nothing runs in {self.folder}")
        self.folder.rmdir()


@contextmanager
def control_group(controller: str) -> Iterator[ControlGroup]:
    group = ControlGroup(controller)
    try:
        yield group
    finally:
        group.remove()


def _path_of_ours(controller: str) -> str:
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    return next((path for _, controllers, path in lines if controller in controllers.split(",")), "/")
