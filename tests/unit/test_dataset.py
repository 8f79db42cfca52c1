"""Tables: types, schema, the split, and what cannot be used."""

import re

import numpy as np
import pandas as pd
import pytest

from modeler import dataset, split, table
from modeler.data_warnings import data_warnings
from modeler.dataset import Dataset
from modeler.errors import BadTrainingData
from models.packaged import packaged_csv, packaged_schema

IRIS = packaged_csv("iris") or b""


def read(csv: bytes, target: str = "", **options: object) -> Dataset:
    return dataset.make(table.read(csv, "csv"), target, **options)  # type: ignore[arg-type]


def test_the_packaged_schema_is_that_of_the_packaged_rows() -> None:
    assert read(IRIS).schema == packaged_schema("iris")


def test_a_test_row_stays_one_when_the_data_grow_or_are_shuffled() -> None:
    lines = IRIS.decode().splitlines()
    few = read("\n".join(lines[:1] + lines[31:]).encode())
    shuffled = read("\n".join(lines[:1] + lines[:0:-1]).encode())
    whole = read(IRIS)
    assert np.array_equal(few.in_test, whole.in_test[30:])
    assert np.array_equal(shuffled.in_test[::-1], whole.in_test)


def test_a_test_row_stays_one_when_columns_move_or_a_number_is_written_otherwise() -> None:
    rows = [(n % 19, n % 17, "high" if n % 19 > 4 else "low") for n in range(400)]
    plain = read(("a,b,y\n" + "".join(f"{a},{b},{y}\n" for a, b, y in rows)).encode())
    moved = read(("y,b,a\n" + "".join(f"{y},{b},{a}\n" for a, b, y in rows)).encode(), "y")
    with_fraction = read(("a,b,y\n" + "".join(f"{a},{b}.0,{y}\n" for a, b, y in rows) + "1.5,2,low\n").encode())
    with_text = read(("a,b,y\n" + "".join(f"{a},{b},{y}\n" for a, b, y in rows) + "1,many,low\n").encode())
    assert np.array_equal(plain.in_test, moved.in_test)
    assert np.array_equal(plain.in_test, with_fraction.in_test[:-1])
    assert np.array_equal(plain.in_test, with_text.in_test[:-1])
    assert 0.1 < plain.in_test.mean() < 0.3


def test_a_row_stays_on_its_side_whatever_its_label() -> None:
    lines = IRIS.decode().splitlines()
    relabeled = [line.rpartition(",")[0] + (",virginica" if n % 2 else ",setosa") for n, line in enumerate(lines[1:])]
    assert np.array_equal(read("\n".join([lines[0], *relabeled]).encode()).in_test, read(IRIS).in_test)


def test_test_rows_of_a_smaller_share_are_among_those_of_a_larger() -> None:
    hashes = split.row_hashes(table.read(IRIS, "csv"), without={"species"})
    small, large = split.below(hashes, 0.1), split.below(hashes, 0.3)
    assert 0 < small.sum() < large.sum()
    assert not (small & ~large).any()


def test_the_hash_of_a_row_never_changes() -> None:
    """A pandas that hashed differently would make training rows of test rows."""
    csv = b"a,b,c,d,e\n1,x,true,2024-01-01,\n2,,false,,1.5\n3,7,,2024-02-01,2\n"
    assert split.row_hashes(table.read(csv, "csv")).tolist() == GOLDEN


GOLDEN = [12867527628102976154, 1390215603106717288, 531273074730562623]


def test_types_are_inferred_from_the_values() -> None:
    lines = [
        f"{n / 2},{n},{'true' if n % 2 else 'false'},{'red' if n % 3 else ''},2024-01-{n % 28 + 1:02},id{n},{n % 2}\n"
        for n in range(600)
    ]
    csv = "n,i,b,c,d,t,y\n" + "".join(lines)
    schema = read(csv.encode(), "y").schema
    assert {feature.name: feature.type for feature in schema.features} == {
        "n": "number",
        "i": "integer",
        "b": "boolean",
        "c": "category",
        "d": "date",
    }
    assert schema.ignored == ("t",)  # nearly every text differs
    by_name = {feature.name: feature for feature in schema.features}
    assert by_name["c"].missing_rate == pytest.approx(1 / 3)
    assert by_name["n"].quantiles == tuple(np.quantile(np.arange(600) / 2, [0.01, 0.25, 0.5, 0.75, 0.99]))
    assert (by_name["d"].minimum, by_name["d"].maximum) == ("2024-01-01", "2024-01-28")


def test_the_same_table_in_every_form() -> None:
    frame = pd.DataFrame(
        {"a": [1.5, None, 3.0] * 10, "c": ["x", None, "y"] * 10, "b": [True, False, True] * 10, "y": [0, 1, 1] * 10}
    )
    forms = {
        "csv": frame.to_csv(index=False).encode(),
        "ndjson": frame.to_json(orient="records", lines=True).encode(),
        "parquet": frame.to_parquet(),
    }
    tables = [table.read(body, name) for name, body in forms.items()]  # type: ignore[arg-type]
    hashes = [split.row_hashes(each).tolist() for each in tables]
    assert hashes[0] == hashes[1] == hashes[2]
    assert tables[0].types == tables[1].types == tables[2].types


def test_the_index_of_a_filtered_frame_scrambles_nothing() -> None:
    frame = pd.DataFrame({"a": range(40), "c": [f"c{n % 3}" for n in range(40)], "y": [n % 2 for n in range(40)]})
    shuffled = frame[frame.a >= 8].sample(frac=1, random_state=1)
    read_back = table.read(shuffled.to_parquet(), "parquet").frame
    assert read_back.a.tolist() == shuffled.a.tolist()
    assert read_back.c.tolist() == shuffled.c.tolist()
    assert list(read_back) == ["a", "c", "y"]


def test_a_test_row_stays_one_when_a_column_becomes_one_of_too_many_texts() -> None:
    def lines(many: int) -> bytes:
        return ("a,name,y\n" + "".join(f"{n % 23},n{n % 150 if n < 200 else n},{n % 2}\n" for n in range(many))).encode()

    few, many = read(lines(200)), read(lines(400))
    assert (few.schema.ignored, many.schema.ignored) == ((), ("name",))
    assert np.array_equal(few.in_test, many.in_test[:200])


def test_texts_that_look_like_one_number_stay_distinct() -> None:
    texts = table.read(("c,y\n" + "".join(f"{code},{n % 2}\n" for n, code in enumerate(["007", "7", "x"] * 20))).encode(), "csv")
    assert len(set(split.row_hashes(texts, without={"y"}, exact=True))) == 3
    assert len(set(split.row_hashes(texts, without={"y"}))) == 2
    codes = "c,y\n" + "".join(f"{n:05},0\n" for n in range(300_000)) + "A1,1\n"
    assert table.read(codes.encode(), "csv").frame.c[42] == "00042"


@pytest.mark.parametrize(
    ("csv", "says"),
    [
        (
            "a,b,y\n" + "".join(f"{n if n % 9 else '-'},{n},{n % 2}\n" for n in range(400)),
            "45 of 400 values are no numbers",
        ),
        ("a,b,y\n" + "".join(f"id{n},{n},{n % 2}\n" for n in range(400)), "left out.*: a"),
        ("a,y\n" + "".join(f"{n},{n % 2}.0\n" for n in range(400)), "taken for a quantity, and has only 2"),
        ("a,y\n" + "".join(f"{n},{n % 2}\n" for n in range(60)), "only .* test rows"),
        ("a,y\n" + "".join(f"{n},{'rare' if n == 3 else n % 2}\n" for n in range(400)), "no test row is of class rare"),
    ],
)
def test_doubtful_data_gives_warnings(csv: str, says: str) -> None:
    assert any(re.search(says, doubt) for doubt in data_warnings(read(csv.encode())))


def test_categories_beyond_the_limit_are_unknown() -> None:
    csv = "c,y\n" + "".join(f"c{n % 10_001:05},{n % 2}\n" for n in range(30_003))
    feature = read(csv.encode()).schema.features[0]
    assert (len(feature.categories), feature.unknown) == (10_000, "ignore")


@pytest.mark.parametrize(
    ("csv", "says"),
    [
        (b"", "cannot be read"),
        (b"a,b\n1,x\n", "rows"),
        (b"a\n" + b"1\n" * 50, "columns"),
        (b"a,b\n" + b"inf,x\n1,y\n" * 20, "infinite"),
        (b"a,b\n" + b"1,\n2,y\n" * 20, "missing values in 20 rows"),
        (b"a,b\n" + b"".join(b"%d,x\n" % n for n in range(60)), "two classes"),
        (b"a,b\n" + b"".join(b"%d,0.5\n" % n for n in range(60)), "the same in all rows"),
        (b"a,b\n" + b"1,x\n2,y,3,4\n" * 20, "line 3 has 4 fields"),
        (b"a,b,c\n" + b"1,x,3\n2,y\n" * 20, "line 3 has 2 fields"),
        (b"a,b\n" + b"1,\xe9\n2,y\n" * 20, "UTF-8"),
        (b"a,b\n" + b"1,x\n2,\0\n" * 20, "NUL"),
        (b"a,a\n" + b"1,x\n2,y\n" * 20, "name of its own"),
        (b"a,b\n" + b",x\n,y\n" * 20, "no column with values"),
        (b"a,b\n" + b'"x\n', "unexpected end of data"),
    ],
)
def test_a_set_that_cannot_be_used_says_why(csv: bytes, says: str) -> None:
    with pytest.raises(BadTrainingData, match=says):
        read(csv)


@pytest.mark.parametrize("body", [b"PAR1" + b"x" * 50 + b"PAR1", b"", b"PAR1"])
def test_invalid_parquet_is_refused(body: bytes) -> None:
    with pytest.raises(BadTrainingData, match="cannot be read"):
        table.read(body, "parquet")


def test_ndjson_of_ever_new_keys_is_refused_before_it_is_a_table() -> None:
    body = b"".join(b'{"k%d": 1}\n' % n for n in range(20_000))
    with pytest.raises(BadTrainingData, match="more than 1001 columns"):
        table.read(body, "ndjson")


def test_a_schema_too_large_for_a_card_is_refused() -> None:
    columns = {f"c{place}": [f"{'x' * 190}{place}-{n % 200}" for n in range(400)] for place in range(40)}
    with pytest.raises(BadTrainingData, match="names and categories"):
        dataset.make(table.read(pd.DataFrame({**columns, "y": [n % 2 for n in range(400)]}).to_parquet(), "parquet"))


@pytest.mark.parametrize("body", [b"[1]\n", b'{"a": [1]}\n', b'{"a": 1', b"[" * 100_000])
def test_invalid_ndjson_is_refused(body: bytes) -> None:
    with pytest.raises(BadTrainingData, match="NDJSON"):
        table.read(body, "ndjson")


def test_a_parquet_bomb_is_refused_before_it_is_unpacked() -> None:
    frame = pd.DataFrame({"a": np.zeros(30_000_000), "y": np.zeros(30_000_000)})
    body = frame.to_parquet(compression="zstd")
    assert len(body) < 1_000_000
    with pytest.raises(BadTrainingData, match="too much"):
        table.read(body, "parquet")


def test_a_target_that_is_not_there_names_the_columns() -> None:
    with pytest.raises(BadTrainingData, match="sepal_length, sepal_width"):
        read(IRIS, "colour")


@pytest.mark.parametrize("weights", ["-1", "", "heavy"])
def test_invalid_weights_are_refused(weights: str) -> None:
    csv = "a,w,y\n" + "".join(f"{n},{weights if n == 7 else 1},{n % 2}\n" for n in range(60))
    with pytest.raises(BadTrainingData, match="column of weights"):
        read(csv.encode(), weight="w")
