"""What the client's commands read of the environment: where the service is, and the key."""

import os
from difflib import get_close_matches

NAMES = ("MLDEPLOY_URL", "MLDEPLOY_API_KEY")
DEFAULT_URL = "http://127.0.0.1:5000"


def url_and_key() -> tuple[str, str]:
    """Raises ValueError for a misspelled name. The server's settings, which begin with MLDEPLOY_ too, do not matter here."""
    for name in os.environ:
        close = get_close_matches(name, NAMES, n=1, cutoff=0.8) if name.startswith("MLDEPLOY_") and name not in NAMES else []
        if close:
            raise ValueError(f"unknown setting {name}: did you mean {close[0]}?")
    url, key = (os.environ.get(name, "") for name in NAMES)
    return url or DEFAULT_URL, key
