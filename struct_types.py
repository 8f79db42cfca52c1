"""Has msgspec read all Structs before threads decode them.

It reads a Struct's annotations when the type is first decoded. A second thread that decodes the same type meanwhile gets what is
half read, and the process dies of SIGSEGV (msgspec 0.22).
"""

from collections.abc import Iterator
from contextlib import suppress

from msgspec import Struct, json


def prepare_structs() -> None:
    """To be called after all imports, while this process has one thread that decodes."""
    for struct in structs_below(Struct):
        with suppress(TypeError):  # one that is never decoded may hold what msgspec cannot decode
            json.Decoder(struct)


def structs_below(parent: type[Struct]) -> Iterator[type[Struct]]:
    for struct in parent.__subclasses__():
        yield struct
        yield from structs_below(struct)
