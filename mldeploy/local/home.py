"""The home folder. It holds jobs, keys and secrets, so only its owner may access it."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

OTHERS = 0o077
OURS = ("lock", "signing.key", "redis", "logs")  # in the home, beside the store


def make_home(home: Path, store: str) -> list[str]:
    """Creates the home, or removes other users' permissions from it and from what the service keeps in it. ``store`` is a folder
    or a URL; a folder outside of the home is not changed. Returns messages for the user. Raises OSError.

    This includes a home that was opened to a group on purpose: a user who can read it has the secrets of all callers, and one who
    can write to it can run any code in the workers (models are pickles, and their signing key is there)."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    closed, open_still = 0, list[str]()
    for path in _ours(home.resolve(), store):
        try:
            closed += _close(path)
        except OSError as error:
            open_still.append(f"{path} ({error.strerror})")
    lines = [f"{home} was open to other users: now it is its owner's alone ({closed} files and folders)"] if closed else []
    if open_still:
        more = f" and {len(open_still) - 1} more" if len(open_still) > 1 else ""
        lines.append(f"{open_still[0]}{more} cannot be closed to other users: secrets are in there, give another --home")
    return lines


def _ours(home: Path, store: str) -> Iterator[Path]:
    yield home
    place = Path(store).resolve()
    in_home = [place] if "://" not in store and home in place.parents else []
    for top in (*(home / name for name in OURS), *in_home):
        yield top
        for folder, folders, files in os.walk(top):
            yield from (Path(folder) / name for name in (*folders, *files))


def _close(path: Path) -> bool:
    """Whether the file was open to other users. Skips symbolic links and files that are gone meanwhile."""
    with suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if mode & OTHERS and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            path.chmod(stat.S_IMODE(mode) & ~OTHERS)
            return True
    return False
