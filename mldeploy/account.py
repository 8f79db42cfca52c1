"""Who is at work here, for the log of moves."""

import getpass
import os


def account() -> str:
    """The account's name; its number if it has none, as in many a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
