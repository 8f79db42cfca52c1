"""Logs rotate by size and number; little is lost, and the disk is not filled."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from mldeploy.local.log_file import LogFile

LINE = re.compile(rb"line (\d{8})\n")
WRITER = (
    "import sys\nfor number in range(int(sys.argv[1])): sys.stdout.buffer.write(b'line %08d\\n' % number); sys.stdout.flush()"
)


@contextmanager
def writing(log: LogFile, lines: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(lines)], stdout=log.open()) as process:
        yield process


def kept(log: LogFile) -> list[int]:
    """Return the numbers of all whole lines, from the oldest file to the newest."""
    older = sorted(log.path.parent.glob(f"{log.path.name}.*"), key=lambda file: -int(file.suffix[1:]))
    files = [*older, log.path]
    return [int(found) for file in files for found in LINE.findall(file.read_bytes())]


def grown(log: LogFile, size: int) -> bytes:
    """Return what was written to it."""
    text = b"".join(b"line %08d\n" % number for number in range(size // 14))
    os.write(log.open(), text)
    return text


def test_a_process_that_writes_all_the_time_loses_no_more_than_a_moment_at_each_rotation(
    tmp_path: Path, figures: list[str]
) -> None:
    lines, log, rotations = 300_000, LogFile(tmp_path / "writer.log", 400_000, 100), 0
    with writing(log, lines) as process:
        while process.poll() is None:
            rotations += log.rotate()
    numbers = kept(log)
    assert rotations >= 5
    assert numbers == sorted(set(numbers))  # none twice, all in their order
    gaps = sum(after - before > 1 for before, after in pairwise(numbers)) + (numbers[0] > 0) + (numbers[-1] < lines - 1)
    assert gaps <= rotations
    assert len(numbers) > 0.9 * lines
    figures.append(f"a log rotated {rotations} times while a process wrote {lines} lines: {lines - len(numbers)} lines lost")


def test_number_and_size_of_files_are_limited_and_they_are_private(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "writer.log", 10_000, 3)
    for _ in range(6):
        grown(log, 15_000)
        assert log.rotate()
        assert not log.rotate()
    files = {file.name: file.stat() for file in log.path.parent.iterdir()}
    assert set(files) == {"writer.log", "writer.log.1", "writer.log.2", "writer.log.3"}
    assert all(stat.st_mode & 0o777 == 0o600 for stat in files.values())
    assert sum(stat.st_size for stat in files.values()) <= 3 * 15_000
    assert log.path.parent.stat().st_mode & 0o777 == 0o700
    LogFile(log.path, 10_000, 1).open()
    assert {file.name for file in log.path.parent.iterdir()} == {"writer.log", "writer.log.1"}


def test_without_older_files_only_the_newest_is_there(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "writer.log", 10_000, 0)
    grown(log, 20_000)
    assert log.rotate()
    assert [(file.name, file.stat().st_size) for file in tmp_path.iterdir()] == [("writer.log", 0)]


def test_only_the_end_of_an_oversized_log_is_kept(tmp_path: Path) -> None:
    """This happens after `up` was frozen, or the limit was lowered."""
    log = LogFile(tmp_path / "writer.log", 10_000, 3)
    text = grown(log, 1_000_000)
    assert log.rotate()
    assert log.path.with_name("writer.log.1").read_bytes() == text[-20_000:]


def test_removed_log_is_still_emptied_at_rotation(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "writer.log", 10_000, 3)
    descriptor = log.open()
    log.path.unlink()
    os.write(descriptor, b"x" * 20_000)
    assert log.rotate()
    assert os.fstat(descriptor).st_size == 0


def test_last_lines_are_the_end_of_what_was_written(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "writer.log", 10_000_000, 3)
    assert log.last_lines() == "(it has no log)"
    grown(log, 1_000_000)
    assert log.last_lines(2) == f"line {1_000_000 // 14 - 2:08d}\nline {1_000_000 // 14 - 1:08d}"


# On a full disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 256 kB; skips without the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system takes root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def free(disk: Path) -> int:
    return os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize


def fill(disk: Path, room: int) -> None:
    (disk / "filler").write_bytes(bytes(free(disk) - room))


def test_older_logs_go_before_newer_lines_do(disk: Path) -> None:
    log = LogFile(disk / "writer.log", 32_768, 5)
    for _ in range(2):
        grown(log, 40_000)
        log.rotate()
    text = grown(log, 40_000)
    fill(disk, 40_000)
    assert log.rotate()
    assert log.path.with_name("writer.log.1").read_bytes() == text
    assert not log.path.with_name("writer.log.3").exists()
    assert log.path.stat().st_size == 0


@pytest.mark.parametrize("room", [8192, 53_248])
def test_where_there_is_no_room_to_spare_only_the_last_lines_are_kept(disk: Path, room: int) -> None:
    """This holds also where a copy would just fit: the last room is Redis's."""
    log = LogFile(disk / "writer.log", 32_768, 5)
    text = grown(log, 50_000)
    fill(disk, room)
    with pytest.raises(OSError, match="No space left"):
        log.rotate()
    assert free(disk) >= room
    assert log.path.read_bytes() == text[-16_384:]
    assert not log.rotate()
    (disk / "filler").unlink()
    grown(log, 20_000)
    assert log.rotate()
    assert log.path.with_name("writer.log.1").stat().st_size > 32_768
