"""A wall clock of a server that a test can set while the server runs."""

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.missing import missing

SOURCE = Path(__file__).parent / "set_clock.c"


class ServerClock:
    """``environment``: for the process whose clock it is; ``name``: distinguishes several in a folder. Needs a C compiler for
    tests/set_clock.c."""

    def __init__(self, folder: Path, name: str = "clock") -> None:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if not compiler:
            missing("a C compiler (Debian: apt install gcc libc6-dev)")
        self._file, library = folder / f"{name}-step", folder / f"set_{name}.so"
        self.set(0)
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
        self.environment: Mapping[str, str] = {"LD_PRELOAD": str(library), "CLOCK_STEP": str(self._file)}

    def set(self, seconds: int) -> None:
        """Set its distance from the true time in seconds."""
        if self._file.exists():
            with self._file.open("r+b") as file:
                file.write(struct.pack("l", seconds))
        else:
            self._file.write_bytes(struct.pack("l", seconds))
