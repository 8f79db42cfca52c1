"""How the columns of a table are read, and what is told about them."""

import csv
import math
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modeler import dataset, table
from modeler.errors import BadTrainingData
from modeler.split import row_hashes
from modeler.table import Table
from models.reading import MAX_DOUBTS, ColumnReport, ReadOptions
from tests.data.columns import CASES, Case, days, numbers


def as_csv(cells: list[str], delimiter: str = ",") -> bytes:
    """Return a table with the column ``a`` of these cells, and a target."""
    text = StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["a", "y"])
    writer.writerows([[cell, place] for place, cell in enumerate(cells)])
    return text.getvalue().encode()


def read(cells: list[str], **options: Any) -> Table:
    return table.read(as_csv(cells), "csv", options=ReadOptions(**options))


def report(found: Table) -> ColumnReport:
    return next(column for column in found.report.columns if column.name == "a")


def values(found: Table) -> list[Any]:
    return [None if value is None or value != value else value for value in found.frame["a"].tolist()]  # noqa: PLR0124 - NaN


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_columns_are_read_as_their_owners_mean_them(case: Case) -> None:
    found = read(case.cells)
    said = report(found)
    assert (said.type, said.missing) == (case.type, case.missing)
    assert values(found)[: len(case.values)] == case.values
    doubts = " ".join((*said.doubts, said.why))
    assert case.doubt in doubts
    assert bool(said.doubts) == bool(case.doubt)


def test_there_are_sixty_cases_and_all_differ() -> None:
    assert len({tuple(case.cells) for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize(
    ("cells", "options", "expected"),
    [
        (["1/2/2026", "3/4/2026"], {"dayfirst": True}, "2026-02-01"),
        (["1/2/2026", "3/4/2026"], {"dayfirst": False}, "2026-01-02"),
        (["2026|01|05", "2026|01|06"], {"date_format": "%Y|%m|%d"}, "2026-01-05"),
        (["1700000000000", "1700003600000"], {"types": {"a": "date"}}, "2023-11-14T22:13:20Z"),
    ],
)
def test_dates_are_read_as_is_said(cells: list[str], options: dict[str, Any], expected: str) -> None:
    said = report(read(cells, **options))
    assert (said.type, said.minimum) == ("date", expected)


@pytest.mark.parametrize(
    ("cells", "options", "expected"),
    [
        (["1,234", "2,500"], {"decimal": ","}, [1.234, 2.5]),
        (["1.500", "2.250"], {"thousands": "."}, [1500.0, 2250.0]),
        (["02138", "10001"], {"types": {"a": "number"}}, [2138.0, 10001.0]),
        (["1", "2", "none of it"], {"types": {"a": "category"}}, ["1", "2", "none of it"]),
        (["1", "x", "3"], {"types": {"a": "number"}}, [1.0, None, 3.0]),
        (["NA", "x", "y"], {"na_values": ["x"]}, ["NA", None, "y"]),
        (["1", "-99", "3"], {"na_values": ["-99"]}, [1.0, None, 3.0]),
    ],
)
def test_columns_are_read_as_is_said(cells: list[str], options: dict[str, Any], expected: list[Any]) -> None:
    assert values(read(cells, **options)) == expected


def test_words_that_became_gaps_are_counted() -> None:
    assert report(read(["1", "NA", "null", "NA", ""])).as_missing == {"NA": 2, "null": 1}


def test_a_type_that_no_value_has_is_refused() -> None:
    with pytest.raises(BadTrainingData, match="none of its values is a date"):
        read(["red", "blue"], types={"a": "date"})


def test_types_of_columns_that_are_not_there_are_refused() -> None:
    with pytest.raises(BadTrainingData, match="not there: zip"):
        read(["1", "2"], types={"zip": "category"})


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiters_are_found_and_told(delimiter: str) -> None:
    found = table.read(as_csv(["20,5", "3,25", "4"], delimiter), "csv")
    assert values(found) == [20.5, 3.25, 4.0]
    assert "are taken to be separated by" in found.report.notes[0]


def test_encodings_are_read_as_is_said() -> None:
    body = as_csv(["Köln", "Bern"]).decode().encode("cp1252")
    with pytest.raises(BadTrainingData, match="encoding=cp1252"):
        table.read(body, "csv")
    assert values(table.read(body, "csv", options=ReadOptions(encoding="cp1252"))) == ["Köln", "Bern"]
    assert values(table.read(as_csv(["Köln", "Bern"]).decode().encode("utf-16"), "csv")) == ["Köln", "Bern"]


@pytest.mark.parametrize("form", ["parquet", "ndjson"])
def test_numbers_that_came_as_texts_stay_texts_and_are_told(form: Any) -> None:
    frame = pd.DataFrame({"a": ["1", "2", "10"], "y": [1, 2, 3]})
    body = frame.to_parquet() if form == "parquet" else frame.to_json(orient="records", lines=True).encode()
    found = table.read(body, form)
    assert values(found) == ["1", "2", "10"]
    assert "types={…: 'number'}" in report(found).doubts[0]
    assert values(table.read(body, form, options=ReadOptions(types={"a": "number"}))) == [1.0, 2.0, 10.0]


@pytest.mark.parametrize("form", ["csv", "parquet", "ndjson"])
def test_ids_of_19_digits_stay_different(form: Any) -> None:
    """As float64 60 such ids are 6."""
    ids = [1234567890123456780 + n for n in range(60)]
    frame = pd.DataFrame({"a": ids, "y": range(60)})
    lines = "".join(f'{{"a": {n}, "y": {place}}}\n' for place, n in enumerate(ids))
    body = {"csv": frame.to_csv(index=False).encode(), "parquet": frame.to_parquet(), "ndjson": lines.encode()}[form]
    found = table.read(body, form)
    assert values(found) == [str(n) for n in ids]
    assert len(set(row_hashes(found, without={"y"}, exact=True))) == 60


def test_a_mended_cell_makes_numbers_again() -> None:
    """What a column was before plays no part where a table is sent anew."""
    broken, mended = read(numbers(*["broken"] * 20)), read(numbers(*["7"] * 20))
    assert (broken.types["a"], mended.types["a"]) == ("category", "number")


def test_a_champion_of_texts_is_asked_with_the_texts_of_numbers() -> None:
    texts = table.read(as_csv(["1", "x", "2", "3"] * 5), "csv")
    ready = dataset.make(texts, "y", task="regression", test_share=0.5)
    now = table.read(as_csv(["1", "2", "3", "1"] * 5), "csv")
    assert dataset.encode(now, ready.schema)[:4, 0].tolist() == [0.0, 1.0, 2.0, 0.0]


def test_moments_are_never_taken_for_numbers_of_another_unit() -> None:
    ready = dataset.make(table.read(as_csv(days()), "csv"), "y", task="regression", test_share=0.5)
    with pytest.raises(BadTrainingData, match="of type integer, and the model takes date"):
        dataset.encode(table.read(as_csv([str(1_700_000_000_000 + n) for n in range(28)]), "csv"), ready.schema)


def test_columns_that_are_ignored_are_taken_and_no_features() -> None:
    found = table.read(b"a,b,y\n" + b"1,2,3\n2,1,5\n3,9,4\n4,7,8\n" * 5, "csv", options=ReadOptions(drop=["b"]))
    ready = dataset.make(found, "y", task="regression", ignore={"b"}, test_share=0.5)
    assert (ready.schema.names, ready.schema.ignored) == (["a"], ("b",))
    assert [column.type for column in found.report.columns] == ["integer", "ignore", "integer"]


def test_many_doubts_are_named_up_to_a_bound() -> None:
    header = ",".join(f"c{n}" for n in range(30))
    rows = [",".join([f"0{n}" for _ in range(30)]) for n in range(12)]
    doubts = table.read(f"{header}\n{chr(10).join(rows)}\n".encode(), "csv").report.doubts
    assert len(doubts) == MAX_DOUBTS + 1
    assert doubts[-1].startswith("… and 10 more")


def test_fifteen_different_integers_are_a_quantity() -> None:
    found = table.read(b"a,y\n" + b"".join(b"%d,%d\n" % (n % 4, n * 7) for n in range(15)), "csv")
    assert dataset.make(found, "y", test_share=0.5).schema.task == "regression"


def test_nothing_is_read_as_infinite() -> None:
    with pytest.raises(BadTrainingData, match="infinite"):
        read(["1", "inf", "2"])
    assert not any(math.isinf(value) for case in CASES for value in np.asarray(case.values) if isinstance(value, float))
