"""What the client's commands read of the environment: where the service is, and the key."""

import os
from difflib import get_close_matches

PREFIX = "MLDEPLOY_"
NAMES = ("URL", "API_KEY")
CLOSE = 0.8  # by difflib; MLDEPLOY_API_WORKERS, a setting of the server, has 0.67
DEFAULT_URL = "http://127.0.0.1:5000"


def url_and_key() -> tuple[str, str]:
    """Raises ValueError for a misspelled name. The server's settings, which begin with MLDEPLOY_ too, do not matter here."""
    for name in os.environ:
        suffix = name.removeprefix(PREFIX)
        meant = next((each for each in NAMES if _is_misspelled(suffix, each)), None) if suffix != name else None
        if meant:
            raise ValueError(f"unknown setting {name}: did you mean {PREFIX}{meant}?")
    url, key = (os.environ.get(PREFIX + name, "") for name in NAMES)
    return url or DEFAULT_URL, key


def _is_misspelled(name: str, meant: str) -> bool:
    return name != meant and (sorted(name) == sorted(meant) or bool(get_close_matches(name, [meant], n=1, cutoff=CLOSE)))
