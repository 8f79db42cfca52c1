"""What becomes of a table's rows when it is added to a data set."""

from itertools import product
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeler import additions, dataset_parts, keyed_rows, table
from modeler.dataset_parts import source_of
from modeler.errors import BadTrainingData
from models.datasets import DatasetRecord
from models.options import AddTask, Format
from models.results import Added
from models.store import FolderStore

# As the release before this one stored it: parts without sources, no key.
OLD_RECORD = (
    b'{"name":"people","target":"survived","types":{"class":"category","age":"category","survived":"category"},"test_share":0.2,'
    b'"parts":[{"sha256":"%s","rows":2,"bytes":1000}],"created_at":"2026-01-31T12:00:00.000Z",'
    b'"updated_at":"2026-01-31T12:00:00.000Z","weight":"","revision":3,"format":1}'
)
PEOPLE = b"class,age,survived\n1st,adult,yes\n3rd,child,no\n"


class Growing:
    """A data set, to which tables are added as the worker does."""

    def __init__(self, folder: Path) -> None:
        self.store = FolderStore(folder)
        self.record: DatasetRecord | None = None

    def add(
        self, body: str | bytes, *key: str, dedupe: bool = False, again: bool = False, format_: Format = "csv"
    ) -> dict[str, int | str | bool | list[str]]:
        body = body.encode() if isinstance(body, str) else body
        task, source = AddTask("people", format_, key, dedupe, again), source_of(body)
        sent = table.read(body, format_, self.record.types if self.record else None)
        added: Added
        if self.record is None:
            self.record, added = additions.create(self.store, task, sent, source)
        else:
            self.record, added = additions.add(self.store, self.record, task, sent, source)
        assert added.rows == self.record.rows == len(self.frame)
        left = added.added + added.replaced + added.unchanged + added.duplicates
        assert left == len(sent.frame), "each row that was sent is counted once"
        return {
            name: value for name, value in msgspec.to_builtins(added).items() if value and name not in ("dataset", "revision")
        }

    @property
    def frame(self) -> pd.DataFrame:
        assert self.record
        return dataset_parts.read(self.store, self.record.parts).frame

    @property
    def rows(self) -> list[list[object]]:
        found: list[list[object]] = self.frame.to_numpy().tolist()
        return found


@pytest.fixture
def growing(tmp_path: Path) -> Growing:
    return Growing(tmp_path)


def passengers(count: int, first: int = 0) -> str:
    """Return rows of a table of categories, of which only 12 are distinct."""
    kinds = [",".join(kind) for kind in product(("1st", "2nd", "3rd"), ("adult", "child"), ("yes", "no"))]
    rows = [kinds[n % len(kinds)] for n in range(first, first + count)]
    return "class,age,survived\n" + "\n".join(rows) + "\n"


def test_further_rows_that_are_like_stored_ones_all_come_in(growing: Growing) -> None:
    assert growing.add(passengers(1000)) == {"added": 1000, "rows": 1000}
    assert growing.add(passengers(200, first=5)) == {"added": 200, "rows": 1200}


def test_very_same_file_is_added_once_and_told(growing: Growing) -> None:
    growing.add(passengers(20))
    growing.add(passengers(30))
    revision = growing.record.revision if growing.record else 0
    again = growing.add(passengers(20))
    assert again == {"duplicates": 20, "rows": 50, "same_file": True, "warnings": [additions.SAME_FILE]}
    assert growing.record
    assert growing.record.revision == revision
    assert growing.add(passengers(20), again=True) == {"added": 20, "rows": 70, "same_file": True}


@pytest.mark.parametrize("format_", ["parquet", "ndjson"])
def test_same_rows_in_another_format_are_the_same_file(growing: Growing, format_: Format, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.5, np.nan, 3.0], "b": ["x", None, "z"], "c": [1, 2, 2], "d": ["2026-01-31"] * 3})
    growing.add(frame.to_csv(index=False))
    if format_ == "parquet":
        frame[["b", "a", "d", "c"]].to_parquet(tmp_path / "rows.parquet", index=False)
        body = (tmp_path / "rows.parquet").read_bytes()
    else:
        body = frame.to_json(orient="records", lines=True).encode()
    assert growing.add(body, format_=format_)["same_file"]
    shuffled = frame[::-1].to_csv(index=False)
    assert growing.add(shuffled) == {"added": 3, "rows": 6}, "in another order they may be other rows that are alike"


def test_files_are_still_known_when_parts_are_merged(growing: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_parts, "MAX_PARTS", 5)
    tables = [f"a,b\n{n},{n % 3}\n{n},{n % 3}\n" for n in range(14)]
    for each in tables:
        growing.add(each)
    assert growing.record
    assert len(growing.record.parts) < len(tables)
    assert all(growing.add(each).get("same_file") for each in tables)
    assert len(growing.rows) == 2 * len(tables)


def test_oldest_files_are_forgotten_beyond_the_limit(growing: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_parts, "MAX_SOURCES", 20)
    monkeypatch.setattr(dataset_parts, "MAX_PARTS", 4)
    for n in range(30):
        growing.add(f"a,b\n{n},1\n")
    assert growing.record
    assert sum(len(part.sources) for part in growing.record.parts) <= 25
    assert growing.add("a,b\n29,1\n").get("same_file")
    assert not growing.add("a,b\n0,1\n").get("same_file")


def test_dedupe_leaves_out_what_is_there_or_comes_twice(growing: Growing) -> None:
    assert growing.add(passengers(100), dedupe=True) == {"added": 12, "duplicates": 88, "rows": 12}
    assert growing.add(passengers(30), dedupe=True) == {"duplicates": 30, "rows": 12}
    assert growing.add(passengers(24, first=1)) == {"added": 24, "rows": 36}, "it is not remembered"


# A key


def test_last_row_of_a_key_counts(growing: Growing) -> None:
    assert growing.add("id,a\n1,x\n2,y\n1,z\n", "id") == {"added": 2, "duplicates": 1, "rows": 2}
    assert growing.rows == [[2.0, "y"], [1.0, "z"]]
    assert growing.add("id,a\n1,z\n2,new\n3,w\n3,v\n") == {"added": 1, "replaced": 1, "unchanged": 1, "duplicates": 1, "rows": 3}
    assert sorted(growing.rows) == [[1.0, "z"], [2.0, "new"], [3.0, "v"]]
    assert growing.record
    assert growing.record.key == ("id",)


def test_a_file_that_was_sent_before_counts_again_with_a_key(growing: Growing) -> None:
    """A table that went back to what it was is no repetition."""
    first = "id,a\n1,x\n2,y\n"
    growing.add(first, "id")
    growing.add("id,a\n1,changed\n")
    assert growing.add(first) == {"replaced": 1, "unchanged": 1, "rows": 2, "same_file": True}
    assert sorted(growing.rows) == [[1.0, "x"], [2.0, "y"]]


def test_several_columns_make_a_key(growing: Growing) -> None:
    growing.add("shop,day,n\na,1,10\na,2,11\nb,1,12\n", "shop", "day")
    assert growing.add("n,day,shop\n20,2,a\n21,2,b\n", "day", "shop") == {"added": 1, "replaced": 1, "rows": 4}


def test_parts_that_keep_all_their_rows_are_not_written_again(growing: Growing) -> None:
    for start in (0, 10, 20):
        growing.add("id,a\n" + "".join(f"{n},x\n" for n in range(start, start + 10)), "id")
    assert growing.record
    before = growing.record.parts
    growing.add("id,a\n15,y\n")
    assert [part.sha256 for part in growing.record.parts][:3:2] == [before[0].sha256, before[2].sha256]
    assert [part.rows for part in growing.record.parts] == [10, 9, 10, 1]


@pytest.mark.parametrize(
    ("stored", "sent", "key", "says"),
    [
        ("", "id,a\n1,x\n,y\n", ("id",), "'id' is of the key and has missing values, first in row 2"),
        ("", "id,a\n1,x\n2,y\n", ("number",), "there is no column 'number' of the key"),
        ("", f"id,a\n{2**53 + 1}.0,x\n{2**53 + 2}.0,y\n", ("id",), "not exact"),
        ("id,a\n1,x\n1,y\n", "id,a\n2,x\n", ("id",), "not unique by id"),
    ],
)
def test_keys_that_cannot_be_are_refused(growing: Growing, stored: str, sent: str, key: tuple[str, ...], says: str) -> None:
    if stored:
        growing.add(stored)
    with pytest.raises(BadTrainingData, match=says):
        growing.add(sent, *key)


def test_key_of_a_data_set_stays(growing: Growing) -> None:
    growing.add("id,a\n1,x\n", "id")
    with pytest.raises(BadTrainingData, match="unique by id: its key stays"):
        growing.add("id,a\n2,x\n", "a")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("xyz")), min_size=1, max_size=8), min_size=1, max_size=5))
def test_with_a_key_a_data_set_is_as_a_dictionary_would_be(
    tmp_path_factory: pytest.TempPathFactory, tables: list[list[tuple[int, str]]]
) -> None:
    growing, expected = Growing(tmp_path_factory.mktemp("keyed")), dict[int, str]()
    for rows in tables:
        before = dict(expected)
        expected |= dict(rows)
        result = growing.add("id,a\n" + "".join(f"{key},{value}\n" for key, value in rows), "id")
        assert result.get("added", 0) == len(expected) - len(before)
        assert result.get("replaced", 0) == sum(expected[key] != value for key, value in before.items())
    assert {int(str(key).partition(".")[0]): value for key, value in growing.rows} == expected


def test_numbers_of_a_key_are_compared_and_not_hashed() -> None:
    stored = table.read(b"id,a\n-0.0,x\n0.1,y\n", "csv")
    merged = keyed_rows.merge(stored, table.read(b"id,a\n0.0,x\n0.10000000000000002,y\n", "csv"), ["id"])
    assert (merged.added, merged.replaced, merged.unchanged) == (1, 0, 1)


# What was stored before


def test_record_of_the_release_before_opens_and_grows(growing: Growing) -> None:
    part = dataset_parts.write(growing.store, table.read(PEOPLE, "csv"))
    growing.record = msgspec.json.decode(OLD_RECORD % part.sha256.encode(), type=DatasetRecord)
    assert (growing.record.key, growing.record.parts[0].sources) == ((), ())
    assert growing.add(PEOPLE).get("same_file"), "its parts are known by their rows"
    assert growing.add(passengers(5)) == {"added": 5, "rows": 7}
    assert growing.record.test_share == 0.2


# Deletion


def test_all_rows_that_are_like_the_deleted_ones_go(growing: Growing) -> None:
    growing.add(passengers(24))
    growing.add(passengers(24), again=True)
    gone = table.read(b"class,age,survived\n1st,adult,yes\n", "csv")
    assert growing.record
    alike = sum(row == ["1st", "adult", "yes"] for row in growing.rows)
    remaining = dataset_parts.without(growing.record, growing.store, gone)
    assert alike > 1
    assert remaining
    assert remaining.rows == growing.record.rows - alike
    growing.record = remaining
    assert growing.add(passengers(24)).get("same_file"), "a file whose rows were deleted does not bring them back by mistake"


def test_sources_are_bounded_for_the_whole_data_set(growing: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_parts, "MAX_SOURCES", 4)
    growing.add("id,a\n" + "".join(f"{n},x\n" for n in range(12)), "id")
    for n in range(10):
        growing.add(f"id,a\n{n},{n}\n{n + 1},{n}\n")
    assert growing.record
    assert sum(len(part.sources) for part in growing.record.parts) == 4
