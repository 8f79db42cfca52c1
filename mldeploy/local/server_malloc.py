"""mimalloc, from the cmeel-mimalloc wheel, for a server that was built with the C library's malloc, which takes a quarter of the
server's time (docs/performance.md).

The wheel's library lists libatomic.so.1 as a dependency, but uses no symbol of it. Where libatomic is missing, a symlink of that
name points to the library itself: the loader then finds that the file is loaded already.
"""

import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from mldeploy.local.server_choice import VERSION_TIMEOUT

UNUSED_DEPENDENCY = "libatomic.so.1"
NOT_PRELOADED = b"LD_PRELOAD"  # in what the loader says of a library that it ignores


def malloc_environment(server: Path, folder: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment variables with which the server gets mimalloc; none where it does not run with them, or where the operator
    preloads something. ``folder``: for the link."""
    library = _library()
    if library is None or "LD_PRELOAD" in inherited:
        return {}
    preload = {"LD_PRELOAD": str(library)}
    if _runs(server, {**inherited, **preload}):
        return preload
    try:
        _link(folder, library)
    except OSError:
        return {}
    folders = [str(folder), *filter(None, [inherited.get("LD_LIBRARY_PATH")])]
    linked = {**preload, "LD_LIBRARY_PATH": ":".join(folders)}
    return linked if _runs(server, {**inherited, **linked}) else {}


def _library() -> Path | None:
    """The wheel's library, if it is installed in a folder that LD_PRELOAD can name."""
    try:
        files = metadata.files("cmeel-mimalloc") or []
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())).resolve() for file in files if file.name == "libmimalloc.so")
    return next((path for path in paths if path.exists() and not set(str(path)) & set(" :")), None)


def _runs(server: Path, environment: Mapping[str, str]) -> bool:
    try:
        ended = subprocess.run([server, "--version"], env=environment, capture_output=True, timeout=VERSION_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0 and NOT_PRELOADED not in ended.stderr


def _link(folder: Path, library: Path) -> None:
    """Raises OSError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    link = folder / UNUSED_DEPENDENCY
    link.unlink(missing_ok=True)
    link.symlink_to(library)
