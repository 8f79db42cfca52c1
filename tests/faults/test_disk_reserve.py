"""When the disk is nearly full no job is accepted and accepted jobs end; with room there is work again."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from mldeploy.client import Client, Unavailable
from settings import Settings
from tests.poison import expected, publish, row
from tests.processes import Pieces, until

MB = 1_000_000
DISK = 120 * MB
RESERVE = 40 * MB
Mount = Callable[[Path], Path]


@pytest.fixture
def disk() -> Iterator[Mount]:
    """Mount a small disk at a folder."""
    mounted: list[Path] = []

    def mount(folder: Path) -> Path:
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", str(folder)]
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
        if completed.returncode:
            pytest.skip(f"a disk of its own takes root, and the right to mount: {completed.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def on_small_disk(disk: Mount, tmp_path: Path) -> Iterator[Callable[..., Pieces]]:
    """Start the poison model and a predict worker with Redis's folder on a small disk."""
    made: list[Pieces] = []

    def make(**settings: Any) -> Pieces:
        home = tmp_path / "pieces"
        disk(home / "redis")
        pieces = Pieces(
            Settings().replace(lease=4.0, default_model="poison", disk_reserve=RESERVE, predict_workers=1, **settings), home
        )
        made.append(pieces)
        pieces.redis()
        publish(pieces)
        pieces.reconciler()
        pieces.api()
        pieces.worker()
        return pieces

    yield make
    for pieces in made:
        pieces.stop()


def fill(folder: Path, owner_left: int) -> Path:
    """Write a file that leaves this many bytes of the disk free."""
    ballast, found = folder / "ballast", os.statvfs(folder)
    with ballast.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, found.f_bavail * found.f_frsize - owner_left)
    return ballast


def codes(pieces: Pieces) -> set[str]:
    return {reason["code"] for reason in requests.get(f"{pieces.url}/health/ready", timeout=10).json()["reasons"]}


def test_nearly_full_disk_refuses_jobs_and_ends_accepted_ones(
    on_small_disk: Callable[..., Pieces],
) -> None:
    pieces = on_small_disk()
    client = Client(pieces.url, retry_for=0)
    accepted = [client.predict(row(number, seconds=0.2), model="poison") for number in range(20)]
    ballast = fill(pieces.folder / "redis", owner_left=RESERVE // 2)
    until(lambda: "refuses-jobs" in codes(pieces), 10, "it says so")
    found = requests.get(f"{pieces.url}/health/ready", timeout=10)
    assert (found.status_code, found.json()["status"]) == (503, "not-ready")
    assert "the disk of Redis has" in found.text
    with pytest.raises(Unavailable, match="the disk of Redis has") as refused:
        client.predict(row(1), model="poison")
    assert refused.value.type.endswith(":full")
    assert [job.wait(60)["prediction"] for job in accepted] == [expected(number) for number in range(20)]
    ballast.unlink()
    until(lambda: "refuses-jobs" not in codes(pieces), 10, "there is room again")
    assert client.predict(row(3), model="poison").wait(20)["prediction"] == expected(3)


def file_of(pieces: Pieces) -> dict[str, int]:
    """Return what Redis reports about its append-only file."""
    found: dict[str, int] = pieces.ledger.redis.info("persistence")
    return found


@pytest.mark.slow
def test_append_only_file_is_rewritten_when_it_fills_the_disk(on_small_disk: Callable[..., Pieces], figures: list[str]) -> None:
    """Large jobs that have ended stay in the file until a rewrite, and Redis itself waits until the file has doubled."""
    pieces = on_small_disk(keep_bytes=2 * MB)
    pieces.ledger.redis.config_set("auto-aof-rewrite-percentage", 0)  # never by itself
    fill(pieces.folder / "redis", owner_left=RESERVE + 20 * MB)
    eager, patient = Client(pieces.url, retry_for=0), Client(pieces.url, retry_for=60)
    rows = [row(number) for number in range(10_000)]
    rewrites, largest = file_of(pieces)["aof_rewrites"], 0
    while file_of(pieces)["aof_rewrites"] == rewrites:
        largest = file_of(pieces)["aof_current_size"]
        with suppress(Unavailable):
            eager.predict(rows, model="poison").wait(60)
    assert patient.predict(rows, model="poison").wait(60)["predictions"][3]["prediction"] == expected(3)
    size = file_of(pieces)["aof_current_size"]
    assert size < largest
    figures.append(
        f"disk reserve: with a file of {largest:,} bytes nothing was accepted; it was rewritten to {size:,}, and work went on"
    )


def test_reconciler_reports_a_disk_that_it_cannot_see(on_small_disk: Callable[..., Pieces]) -> None:
    """The same as in docker-compose.yml, where Redis's volume is not mounted in the home."""
    pieces = on_small_disk()
    pieces.settings = pieces.settings.replace(redis_data=str(pieces.folder / "nowhere"))
    blind = pieces.python("blind", "jobs.reconciler")
    assert blind.popen.wait(20) == 1
    assert "mount Redis's volume there" in blind.log.read_text()
