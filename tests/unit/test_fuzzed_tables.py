"""Mutated tables are read, or refused with a sentence; nothing else happens."""

import csv
from io import StringIO
from typing import Any

import numpy as np
import pytest

from modeler import dataset, table
from modeler.errors import BadTrainingData
from models.reading import ReadOptions
from tests.data.columns import CASES

ODD = [
    "",
    "\n",
    '"',
    "💥",
    " ",
    "\u00a0",
    "1e400",
    "-inf",
    "1e-400",
    "9" * 23,
    "0x10",
    "1_000",
    "२",
    "½",
    "1,2,3",
    "2026-13-45",
    "24:00",
]
ODD += [
    "00/00/0000",
    "32.13.2020",
    "%",
    "$",
    "()",
    "(-5)",
    "--5",
    "+",
    "2026-01-01T25:00:00Z",
    "0001-01-01",
    "Feb 30, 2020",
    "1e5%",
    "'",
]
POOL = [cell for case in CASES for cell in case.cells] + ODD
OPTIONS: list[dict[str, Any]] = [
    *({"types": {"c0": type_}} for type_ in ("number", "integer", "boolean", "category", "date", "ignore")),
    *({"dayfirst": first} for first in (True, False)),
    *({"decimal": mark} for mark in (".", ",")),
    *({"date_format": format_} for format_ in ("%d.%m.%Y", "%Q", "%")),
    *({"encoding": name} for name in ("latin-1", "utf-16", "nope", "zlib")),
    *({"na_values": ["1"]}, {"thousands": " "}, {"delimiter": "|"}),
]


def mutated(random: np.random.Generator) -> bytes:
    columns, rows = int(random.integers(2, 5)), int(random.integers(1, 40))
    bases = [CASES[int(random.integers(len(CASES)))].cells if random.random() < 0.7 else POOL for _ in range(columns)]
    cells = [[str(random.choice(base if random.random() < 0.9 else POOL)) for base in bases] for _ in range(rows)]
    text = StringIO()
    writer = csv.writer(text, delimiter=str(random.choice([",", ",", ";", "\t", "|"])))
    writer.writerows([[f"c{place}" for place in range(columns)], *cells])
    body = bytearray(text.getvalue().encode())
    for _ in range(3 if random.random() < 0.2 else 0):
        body[int(random.integers(len(body)))] = int(random.integers(256))
    return bytes(body)


def check(seed: int) -> bool:
    """Return whether a mutated table could be read and prepared."""
    random = np.random.default_rng(seed)
    options = ReadOptions(**OPTIONS[int(random.integers(len(OPTIONS)))]) if random.random() < 0.4 else ReadOptions()
    refusal = None
    try:
        found = table.read(mutated(random), "csv", options=options)
        ready = dataset.make(found)
    except BadTrainingData as error:
        refusal = str(error)
    if refusal is not None:
        assert refusal.strip()
        return False
    assert [column.name for column in found.report.columns] == list(found.frame)
    assert ready.features.shape == (len(found.frame), len(ready.schema.features))
    return True


@pytest.mark.filterwarnings("ignore")
def test_100_mutated_tables_are_read_or_refused() -> None:
    assert 10 < sum(map(check, range(100))) < 90


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_1000_mutated_tables_are_read_or_refused() -> None:
    assert 100 < sum(map(check, range(1000, 2000))) < 900
