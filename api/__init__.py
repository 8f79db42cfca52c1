"""HTTP, and nothing but HTTP. Imports neither scikit-learn nor pandas. ``api:create_app()`` is what WSGI servers are given."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """``create_app``, only when it is asked for: the modules of this package import the package first."""
    if name == "create_app":
        return import_module("api.app").create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
