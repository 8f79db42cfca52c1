"""Names of version folders: ``<version>-<attempt>-<token>``, with a leading dot while they are written.

The token is random, so that two registries that share a store never write the same folder.
"""

import re
import secrets
from typing import NamedTuple

FOLDER = re.compile(r"(\.?)(([1-9][0-9]{0,8})-([0-9]{1,9})(?:-[0-9a-f]+)?)(\.[0-9a-f]+)?")


class Folder(NamedTuple):
    """``entry`` is the current name in the store, ``name`` the one of the finished folder."""

    entry: str
    name: str
    version: int
    attempt: int

    @property
    def finished(self) -> bool:
        return self.entry == self.name


def new_name(version: int, attempt: int) -> str:
    return f"{version}-{attempt}-{secrets.token_hex(4)}"


def parse(entries: list[str]) -> list[Folder]:
    """Return the entries that are version folders."""
    found = [(entry, FOLDER.fullmatch(entry)) for entry in entries]
    return [Folder(entry, match[2], int(match[3]), int(match[4])) for entry, match in found if match]
