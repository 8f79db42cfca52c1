"""The operating system account of the user, for the log of alias moves."""

import getpass
import os


def account() -> str:
    """The account's name, or its number if it has no name, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
