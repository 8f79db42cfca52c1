"""What the documents show in code: fenced blocks, the commands in them, and code within sentences."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.processes import ROOT

DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "client/README.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)
PROGRAMS = {"mldeploy", "make", "curl", "docker", "export", ".", ".venv/bin/pytest", "pip", "python", "gunicorn", "flask"}
FENCE = re.compile(r"\s*(```+|~~~+)\s*(\w*)")
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def is_python(self) -> bool:
        return self.language in {"python", "py"}

    @property
    def is_shell(self) -> bool:
        """A block without a language is one of commands if a program that we know is its first word."""
        return self.language in {"sh", "bash", "shell", "console"} or (
            not self.language and self.first_line.split(" ")[0] in PROGRAMS
        )

    @property
    def file_name(self) -> str:
        """Of a block that is a file, as its first line says; else empty."""
        named = re.match(r"# (\w+\.py)\b", self.first_line)
        return named[1] if named else ""


@dataclass(frozen=True)
class Inline:
    document: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line} {self.text}"


def read(document: str) -> str:
    return (ROOT / document).read_text()


def blocks_of(document: str, text: str) -> Iterator[Block]:
    """Yield the fenced blocks. Raises ValueError if the last one is not closed."""
    opened: re.Match[str] | None = None
    since, lines = 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None and fence:
            opened, since, lines = fence, number, []
        elif opened is not None and line.strip() == opened[1]:
            yield Block(document, since, opened[2], "\n".join(lines))
            opened = None
        else:
            lines.append(line)
    if opened:
        raise ValueError(f"{document}:{since}: this block is not closed")


def inline_of(document: str, text: str) -> Iterator[Inline]:
    """Yield the code within sentences and tables."""
    without = text.split("\n")
    for block in blocks_of(document, text):
        for number in range(block.line - 1, block.line + block.text.count("\n") + 2):
            without[number] = ""
    left = "\n".join(without)
    for found in INLINE.finditer(left):
        yield Inline(document, left.count("\n", 0, found.start()) + 1, " ".join(found[1].split()))


def commands_of(block: Block) -> list[str]:
    """Return the block's commands without prompts and comments, each on one line."""
    joined = re.sub(r"\s*\\\n\s*", " ", block.text)
    bare = (re.sub(r"(^|\s+)#\s.*$", "", line).strip().removeprefix("$ ") for line in joined.split("\n"))
    return [command for command in bare if command]


BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document, read(document))]
INLINES = [inline for document in DOCUMENTS for inline in inline_of(document, read(document))]
COMMANDS = list(dict.fromkeys((block.document, command) for block in BLOCKS if block.is_shell for command in commands_of(block)))
SHOWN_JSON = list(dict.fromkeys(inline.text for inline in INLINES if inline.text.startswith("{")))


def parsed_json(shown: str) -> Any:
    """Return the value; what is left out of it (`…`, `<the job>`) is the text `…`. Raises ValueError."""
    return json.loads(re.sub(r"…|<[\w ]+>", '"…"', shown))
