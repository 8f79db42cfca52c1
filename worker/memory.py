"""The memory limit of this host or container, and the processes that the kernel has killed for lack of memory. Only on Linux."""

from pathlib import Path

SYSTEM = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60  # of cgroups of version 1, a little below 2 ** 63


class Memory:
    """Reads this process's control group, if it can be read, and otherwise the machine."""

    def __init__(self, proc: Path = Path("/proc"), system: Path = SYSTEM) -> None:
        self._proc = proc
        self._groups = _groups(proc, system)

    def limit(self) -> int | None:
        """The limit in bytes: the smallest of the machine's and of the control groups'."""
        machine = _field(self._proc / "meminfo", "MemTotal:")
        limits = [1024 * machine] if machine else []
        for folder in self._groups:
            limits += [limit for name in ("memory.max", "memory.limit_in_bytes") if (limit := _number(folder / name))]
        return min((limit for limit in limits if limit < UNLIMITED), default=None)

    def kills(self) -> int | None:
        """How many processes of the control group, or else of the machine, the kernel has killed for lack of memory."""
        for folder in self._groups[:1]:
            for name in ("memory.events", "memory.oom_control"):
                if (kills := _field(folder / name, "oom_kill")) is not None:
                    return kills
        return _field(self._proc / "vmstat", "oom_kill")

    def peak_size(self, pid: int) -> int | None:
        """The peak resident size of a process so far, in bytes."""
        kilobytes = _field(self._proc / str(pid) / "status", "VmHWM:")
        return None if kilobytes is None else 1024 * kilobytes


def _groups(proc: Path, system: Path) -> list[Path]:
    """The control group of this process that accounts for memory, and its parents. In a container its own may be the root."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            top = system / "memory" if controllers else system
            ours = top / path.lstrip("/")
            ours = ours if ours.is_dir() else top
            groups = [folder for folder in (ours, *ours.parents) if folder.is_relative_to(top)]
            if any((folder / name).exists() for folder in groups for name in ("memory.events", "memory.oom_control")):
                return groups
    return []


def _field(file: Path, name: str) -> int | None:
    for line in _read(file).splitlines():
        words = line.split()
        if words[:1] == [name]:
            return int(words[1])
    return None


def _number(file: Path) -> int | None:
    text = _read(file).strip()
    return int(text) if text.isdecimal() else None  # or it is "max"


def _read(file: Path) -> str:
    """Empty if the file does not exist or cannot be read."""
    try:
        return file.read_text()
    except OSError:
        return ""
