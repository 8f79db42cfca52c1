"""Threads may be the first to decode a Struct."""

import signal
import subprocess
import sys

import pytest

from tests.processes import ROOT

ATTEMPTS = 20  # without preparation four of five die
CONTEXT = "ApiContext"  # holds what msgspec cannot decode

DECODE_IN_THREADS = f"""
import resource, sys, threading
from contextlib import suppress
from msgspec import Struct, ValidationError, json
import api.app, worker.run, worker.webhooks, worker.__main__
from settings import Settings
from struct_types import structs_below

if sys.argv[1:]:
    api.app.create_app(Settings(redis_url=sys.argv[1]))
structs = [struct for struct in structs_below(Struct) if struct.__name__ != "{CONTEXT}"]
start_next = threading.Barrier(4)

def decode_all():
    for struct in structs:
        nulls = json.encode(dict.fromkeys(struct.__struct_encode_fields__))
        start_next.wait()
        with suppress(ValidationError):
            json.decode(nulls, type=struct)

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=decode_all) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def decode_in_threads(*redis_url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DECODE_IN_THREADS, *redis_url]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_threads_may_decode_any_struct_of_an_application() -> None:
    completed = decode_in_threads("redis://127.0.0.1:1")
    assert (completed.returncode, completed.stderr) == (0, "")


@pytest.mark.slow
def test_without_preparation_the_process_dies() -> None:
    """If this fails, msgspec no longer needs struct_types.py."""
    assert any(decode_in_threads().returncode == -signal.SIGSEGV for _ in range(ATTEMPTS))
