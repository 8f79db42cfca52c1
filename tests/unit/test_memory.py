"""Reading memory limits on several kinds of machines, and the reasons derived from a death."""

import json
import os
import signal
from pathlib import Path

import pytest

from worker.deaths import Death, Deaths
from worker.memory import Memory

GB = 1_000_000_000


class Machine:
    """The files of /proc and /sys/fs/cgroup that are read."""

    def __init__(self, folder: Path, cgroup: str) -> None:
        self.proc, self.system = folder / "proc", folder / "cgroup"
        self.write("proc/meminfo", f"MemTotal:       {8 * GB // 1024} kB\nMemFree:  1 kB\n")
        self.write("proc/vmstat", "nr_free_pages 1\noom_kill 5\n")
        self.write("proc/self/cgroup", cgroup)

    def write(self, name: str, text: str) -> None:
        file = self.proc.parent / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def grow(self, pid: int, size: int) -> None:
        self.write(f"proc/{pid}/status", f"VmPeak: 1 kB\nVmHWM:\t {size // 1024} kB\n")

    @property
    def memory(self) -> Memory:
        return Memory(self.proc, self.system)


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    """A machine without control groups."""
    return Machine(tmp_path, "0::/\n")


def test_a_machine_without_control_groups(bare: Machine) -> None:
    assert bare.memory.limit() == 8 * GB // 1024 * 1024
    assert bare.memory.kills() == 5


def test_version_1_uses_the_group_of_this_process_and_its_parents(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "5:cpu:/\n4:pids,memory:/a/b\n0::/\n")
    for group, limit, kills in ("", 9223372036854771712, 0), ("a", 3 * GB, 7), ("a/b", 4 * GB, 2):
        machine.write(f"cgroup/memory/{group}/memory.limit_in_bytes", f"{limit}\n")
        machine.write(f"cgroup/memory/{group}/memory.oom_control", f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n")
    assert (machine.memory.limit(), machine.memory.kills()) == (3 * GB, 2)


def test_version_1_in_a_container_whose_own_group_is_the_top(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "4:memory:/docker/0123\n")
    machine.write("cgroup/memory/memory.limit_in_bytes", f"{2 * GB}\n")
    machine.write("cgroup/memory/memory.oom_control", "oom_kill 1\n")
    assert (machine.memory.limit(), machine.memory.kills()) == (2 * GB, 1)


def test_version_2(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "0::/system.slice/mldeploy.service\n")
    machine.write("cgroup/cgroup.procs", "")
    machine.write("cgroup/system.slice/memory.max", f"{GB}\n")
    machine.write("cgroup/system.slice/memory.events", "low 0\noom 9\noom_kill 9\n")
    machine.write("cgroup/system.slice/mldeploy.service/memory.max", "max\n")
    machine.write("cgroup/system.slice/mldeploy.service/memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert (machine.memory.limit(), machine.memory.kills()) == (GB, 2)


def test_where_nothing_can_be_read_nothing_is_known(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "proc", tmp_path / "cgroup")
    assert (memory.limit(), memory.kills(), memory.peak_size(1)) == (None, None, None)


def test_this_machine_can_be_read() -> None:
    memory = Memory()
    assert (memory.limit() or 0) > (memory.peak_size(os.getpid()) or 0) > 1_000_000
    assert memory.kills() is not None


def reason(machine: Machine, death: Death, size: int, kills: int = 5) -> tuple[str, str]:
    deaths = Deaths("train", machine.memory)
    machine.grow(7, size)
    deaths.observe([7])
    machine.write("proc/vmstat", f"oom_kill {kills}\n")
    deaths.observe([])
    error = json.loads(deaths.reason(7, death))
    return error["type"], error["detail"]


KILLED = Death(signal=signal.SIGKILL)


@pytest.mark.parametrize(
    ("death", "size", "kills", "type_"),
    [
        (KILLED, 7 * GB, 5, "out-of-memory"),  # large, as where something other than the kernel kills for memory
        (KILLED, GB, 6, "out-of-memory"),  # the kernel has just killed for memory
        (KILLED, GB, 5, "worker-died"),
        (Death(signal=signal.SIGSEGV), 7 * GB, 6, "worker-died"),
        (Death(status=1), 7 * GB, 6, "worker-died"),
        (Death(), 7 * GB, 6, "worker-died"),
    ],
)
def test_a_killed_process_died_for_memory_if_it_was_large_or_the_kernel_killed_for_it(
    bare: Machine, death: Death, size: int, kills: int, type_: str
) -> None:
    assert reason(bare, death, size, kills)[0] == type_


def test_the_reason_says_how_much_there_was_and_what_to_do(bare: Machine) -> None:
    detail = reason(bare, KILLED, 7_900_000_000)[1]
    assert "it had grown to at least 7.9 GB of the 8.0 GB there are" in detail
    assert "train on fewer rows or with a smaller estimator, or give the train worker more memory" in detail


@pytest.mark.parametrize(
    ("death", "text"),
    [
        (KILLED, "killed by SIGKILL"),
        (Death(signal=40), "killed by signal 40"),
        (Death(status=3), "exited with status 3"),
        (Death(), "not known how"),
    ],
)
def test_death_is_described_in_words(bare: Machine, death: Death, text: str) -> None:
    assert text in reason(bare, death, GB)[1]
