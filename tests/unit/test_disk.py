"""Which disk is watched."""

from pathlib import Path

from jobs.disk import DiskWatch
from jobs.ledger import Ledger
from settings import Settings


def test_a_folder_that_an_embedded_redis_left_is_not_watched_for_a_redis_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    settings = Settings(home=str(tmp_path), redis_url="redis://127.0.0.1:1", disk_reserve=10**18)
    assert DiskWatch(settings, Ledger(settings)).shortage(0) == ""
