"""What the kernel is to do with a process: end it with its parent, however that dies, and before others when memory runs out.

As a program, ``python parent_death.py PARENT_PID [--expendable] command…`` asks for that and becomes the command. Linux does both
(PR_SET_PDEATHSIG, oom_score_adj); elsewhere this does nothing.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
EXPENDABLE = "--expendable"
EXPENDABLE_SHARE = 0.5
ALWAYS_FIRST = 1000  # the highest oom_score_adj


def tie_to_parent(parent: int | None = None) -> None:
    """From now on the kernel kills this process with its parent. ``parent`` closes the race with a parent dead already."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def make_expendable(share: float) -> None:
    """When memory runs out the kernel ends this process before others of its size. ``share``: how far its score is raised, from
    what it inherited (0) to "always first" (1). That takes no privilege; where it fails all the same, that is logged."""
    if not sys.platform.startswith("linux"):
        return
    score = Path("/proc/self/oom_score_adj")
    try:
        inherited = int(score.read_text())
        score.write_text(str(inherited + round((ALWAYS_FIRST - inherited) * share)))
    except OSError as error:
        print(f"the kernel will treat this process like any other when memory runs out: {error}", file=sys.stderr)


def main(arguments: list[str]) -> None:
    parent, *command = arguments
    tie_to_parent(int(parent))
    if command[0] == EXPENDABLE:
        make_expendable(EXPENDABLE_SHARE)
        command = command[1:]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
