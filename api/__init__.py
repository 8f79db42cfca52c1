"""The HTTP API. It imports neither scikit-learn nor pandas. WSGI servers use ``api:create_app()``."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Imports ``create_app`` on first use, since the modules of this package import the package first."""
    if name == "create_app":
        return import_module("api.app").create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
