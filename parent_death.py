"""Make the kernel kill a process when its parent dies, or before others when memory runs out.

As a program, ``python parent_death.py PARENT_PID [--expendable] command…`` requests this and then executes the command. It works
on Linux (PR_SET_PDEATHSIG, oom_score_adj); on other systems it does nothing.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
EXPENDABLE = "--expendable"
EXPENDABLE_SHARE = 0.5
MAX_SCORE = 1000  # of oom_score_adj: always first


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent dies. ``parent``: the expected parent; if it has died already, this
    process is killed at once."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def make_expendable(share: float) -> None:
    """Have the kernel kill this process before others of its size when memory runs out. ``share``: how far to raise its score,
    from the inherited value (0) to "always first" (1). This needs no privilege; a failure is only logged."""
    if not sys.platform.startswith("linux"):
        return
    score = Path("/proc/self/oom_score_adj")
    try:
        inherited = int(score.read_text())
        score.write_text(str(inherited + round((MAX_SCORE - inherited) * share)))
    except OSError as error:
        print(f"the kernel will treat this process like any other when memory runs out: {error}", file=sys.stderr)


def main(arguments: list[str]) -> None:
    parent, *command = arguments
    die_with_parent(int(parent))
    if command[0] == EXPENDABLE:
        make_expendable(EXPENDABLE_SHARE)
        command = command[1:]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
