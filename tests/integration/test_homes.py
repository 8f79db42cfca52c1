"""Homes written by another server: older homes, and the record of the last writer."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mldeploy.local.server_choice import choose_server
from settings import Settings
from tests.processes import ROOT, Pieces
from tests.service import Service

FINISHED = (
    "01a2156024ba7a648ebd8c9d8452d534e141dd8f",
    "01a2156024bf741c9b7ea877e8473c4dd675c365",
    "01a2156024c2788a9249367fbf50557a9048ea10",
    "01a215602c9d7c0dbd5d503d1547497a732fe18a",
)
QUEUED = "01a215602ca7781d8177eef14b63cae742b869c9"


@pytest.fixture
def pieces(tmp_path: Path) -> Iterator[Pieces]:
    pieces = Pieces(Settings(), tmp_path / "home")
    yield pieces
    pieces.stop()


def states(pieces: Pieces) -> dict[str, str]:
    records = pieces.ledger.get_many([*FINISHED, QUEUED])
    assert all(record and (record.result or record.state == "queued") for record in records)
    return {record.id: record.state for record in records if record}


def test_home_that_redis_6_2_wrote_opens_and_stays_open(pieces: Pieces) -> None:
    data = pieces.folder / "redis"
    data.mkdir()
    shutil.copy(ROOT / "tests" / "data" / "redis-6.2.aof", data / "appendonly.aof")
    expected = dict.fromkeys(FINISHED, "succeeded") | {QUEUED: "queued"}
    server = pieces.redis()
    assert states(pieces) == expected
    assert all(pieces.ledger.verifies(job_id) for job_id in expected)
    server.terminate()
    assert (data / "written-by").read_text() == f"{choose_server().version}\n"
    pieces.redis()
    assert states(pieces) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is Linux's")
@pytest.mark.skipif(not choose_server().libc_malloc, reason="the server on PATH has a malloc of its own")
def test_embedded_server_runs_with_mimalloc(service: Service) -> None:
    mapped = {Path(area.path).name for area in service.children()["redis"].memory_maps()}
    assert any(name.startswith("libmimalloc.so") for name in mapped)
