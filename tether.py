"""Tie a process to its parent: when the parent dies, however it dies, so does the process.

As a program, ``python tether.py PARENT_PID command…`` ties itself and becomes the command.
Linux does the tying (PR_SET_PDEATHSIG); elsewhere this does nothing.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def tie_to_parent(parent: int | None = None) -> None:
    """From now on the kernel kills this process with its parent. ``parent`` closes the race with a parent dead already."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: list[str]) -> None:
    tie_to_parent(int(arguments[0]))
    os.execvp(arguments[1], arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
