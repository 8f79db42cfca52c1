import numpy as np
import pytest

from models.dataset import BadTrainingData, read
from models.packaged import packaged_csv, packaged_schema

IRIS = packaged_csv("iris") or b""


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
    rows = [(n % 9, n % 7, "high" if n % 9 > 4 else "low") for n in range(400)]
    plain = read(("a,b,y\n" + "".join(f"{a},{b},{y}\n" for a, b, y in rows)).encode())
    moved = read(("y,b,a\n" + "".join(f"{y},{b},{a}\n" for a, b, y in rows)).encode(), "y")
    with_fraction = read(("a,b,y\n" + "".join(f"{a},{b}.0,{y}\n" for a, b, y in rows) + "1.5,2,low\n").encode())
    assert np.array_equal(plain.in_test, moved.in_test)
    assert np.array_equal(plain.in_test, with_fraction.in_test[:-1])
    assert 0.1 < plain.in_test.mean() < 0.3


@pytest.mark.parametrize(
    ("csv", "says"),
    [
        (b"", "cannot be read"),
        (b"a,b\n1,x\n", "rows"),
        (b"a\n" + b"1\n" * 50, "columns"),
        (b"a,b\n" + b"one,x\ntwo,y\n" * 20, "'a' is not numeric"),
        (b"a,b\n" + b",x\n1,y\n" * 20, "missing or infinite"),
        (b"a,b\n" + b"inf,x\n1,y\n" * 20, "missing or infinite"),
        (b"a,b\n" + b"1,\n2,y\n" * 20, "missing values"),
        (b"a,b\n" + b"1,x\n2,x\n" * 20, "two classes"),
        (b"a,b\n" + b"1,0.5\n2,0.7\n" * 20, "fractions"),
        (b"a,b\n" + b"1,x\n2,y,3,4\n" * 20, "cannot be read"),
        (b"a,b\n" + b"1,\xe9\n2,y\n" * 20, "UTF-8"),
    ],
)
def test_a_set_that_cannot_be_used_says_why(csv: bytes, says: str) -> None:
    with pytest.raises(BadTrainingData, match=says):
        read(csv)


def test_a_target_that_is_not_there_names_the_columns() -> None:
    with pytest.raises(BadTrainingData, match="sepal_length, sepal_width"):
        read(IRIS, "colour")
