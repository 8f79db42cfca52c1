"""Which environment a server of the C library's malloc gets, so that it runs with mimalloc."""

import os
import sys
from ctypes.util import find_library
from pathlib import Path

import pytest

from mldeploy.local.server_malloc import malloc_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is Linux's")

RUNS = "exit 0"
NEEDS_LIBATOMIC = '[ -e "${LD_LIBRARY_PATH%%:*}/libatomic.so.1" ] || exit 127'
NOISE = "echo no version information available >&2"
IS_NOT_PRELOADED = """echo "ERROR: ld.so: object 'libmimalloc.so' from LD_PRELOAD cannot be preloaded: ignored." >&2"""
INHERITED = {name: value for name, value in os.environ.items() if not name.startswith("LD_")}


def environment_of(script: str, folder: Path, **inherited: str) -> dict[str, str]:
    """Return the environment of a program that behaves as the script does."""
    program = folder / "valkey-server"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return malloc_environment(program, folder / "lib", INHERITED | inherited)


@pytest.mark.parametrize("script", [RUNS, NOISE])
def test_mimalloc_is_preloaded(script: str, tmp_path: Path) -> None:
    environment = environment_of(script, tmp_path)
    assert Path(environment["LD_PRELOAD"]).name.startswith("libmimalloc.so")
    linked = find_library("atomic") is None  # the shell that plays the server needs the link too
    assert ("LD_LIBRARY_PATH" in environment, (tmp_path / "lib").exists()) == (linked, linked)


def test_where_there_is_no_libatomic_the_library_is_found_by_that_name(tmp_path: Path) -> None:
    environment = environment_of(NEEDS_LIBATOMIC, tmp_path, LD_LIBRARY_PATH="/elsewhere")
    assert environment["LD_LIBRARY_PATH"] == f"{tmp_path / 'lib'}:/elsewhere"
    assert (tmp_path / "lib" / "libatomic.so.1").samefile(environment["LD_PRELOAD"])
    assert environment_of(NEEDS_LIBATOMIC, tmp_path) == environment | {"LD_LIBRARY_PATH": str(tmp_path / "lib")}


@pytest.mark.parametrize("script", ["exit 127", IS_NOT_PRELOADED])
def test_server_that_does_not_run_with_it_keeps_its_malloc(script: str, tmp_path: Path) -> None:
    assert environment_of(script, tmp_path) == {}


def test_what_the_operator_preloads_takes_precedence(tmp_path: Path) -> None:
    assert environment_of(RUNS, tmp_path, LD_PRELOAD="libjemalloc.so.2") == {}
