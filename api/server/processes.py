"""Several processes that serve one port: a parent starts them, restarts those that die, and forwards the signal to stop."""

import os
import signal
import sys
import time
from collections.abc import Callable

from parent_death import die_with_parent

RESTART_INTERVAL = 0.5  # seconds before a process that died is restarted


def run_processes(count: int, serve: Callable[[], None]) -> None:
    """Runs until SIGTERM or SIGINT, and until all processes have ended. Must be called while this process has one thread."""
    if count == 1:
        serve()
        return
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    children = {_start(serve, signals) for _ in range(count)}
    while True:
        number = signal.sigwait(signals)
        if number != signal.SIGCHLD:
            break
        for _ in range(len(_ended(children))):
            time.sleep(RESTART_INTERVAL)
            children.add(_start(serve, signals))
    for pid in children:
        os.kill(pid, signal.SIGTERM)
    for pid in children:
        os.waitpid(pid, 0)


def _start(serve: Callable[[], None], signals: set[signal.Signals]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        die_with_parent(parent)
        serve()
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise
    finally:
        os._exit(1)


def _ended(children: set[int]) -> set[int]:
    """Removes the processes that have ended from ``children``, and returns them."""
    ended = {pid for pid in children if os.waitpid(pid, os.WNOHANG)[0]}
    children -= ended
    return ended
