"""The version of mldeploy."""

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    return metadata.version("mldeploy")
