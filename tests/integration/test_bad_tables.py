"""A bad table is refused at the door or fails its job, the error says what is wrong, and the worker survives."""

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from mldeploy.client import Client, Problem
from tests.processes import until
from tests.service import Service

PATIENCE = 120.0
FAILED = 200  # the status of the response for a failed job
GOOD = b"a,b,y\n" + b"".join(b"%d,%d,%s\n" % (n, n % 7, b"high" if n % 7 > 3 else b"low") for n in range(100))


class Bad(NamedTuple):
    """A bad table; ``says`` matches the detail of its error."""

    body: bytes
    says: str
    code: str = "bad-training-data"
    status: int = FAILED
    format: str = "csv"
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


def door(body: bytes, says: str, format_: str = "csv", **options: Any) -> Bad:
    return Bad(body, says, "bad-table", 422, format_, options)


def table(line: Callable[[int], str], header: str = "a,y", rows: int = 100) -> bytes:
    return "\n".join([header, *map(line, range(rows)), ""]).encode()


def lines(value: Callable[[int], str], rows: int = 100) -> bytes:
    return "".join(f'{{"a": {value(n)}, "y": "{"xy"[n % 2]}"}}\n' for n in range(rows)).encode()


def parquet(columns: dict[str, Any]) -> bytes:
    buffer = BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def plain_parquet() -> bytes:
    return parquet({"a": list(range(1000)), "y": ["x", "y"] * 500})


def bomb_of_rows() -> bytes:
    """Return 30 million rows in a few kilobytes."""
    buffer, million = BytesIO(), np.zeros(1_000_000, dtype=np.int8)
    part = pa.table({"a": million, "y": million})
    with pq.ParquetWriter(buffer, part.schema, compression="zstd") as writer:
        for _ in range(30):
            writer.write_table(part)
    return buffer.getvalue()


def bomb_of_text() -> bytes:
    """Return two texts of 9,000 characters repeated 200,000 times in a few kilobytes: 3.6 GB unpacked."""
    buffer, places = BytesIO(), pa.array(np.arange(400_000, dtype=np.int32) % 2)
    long, short = (pa.DictionaryArray.from_arrays(places, pa.array(["x" * size, "y" * size])) for size in (9000, 1))
    pq.write_table(pa.table({"a": long, "y": short}), buffer, store_schema=False)
    return buffer.getvalue()


CSVS = {
    "no header": door(b"5.1,3.5,setosa\n4.9,3.0,virginica\n" * 50, "no header but a row"),
    "nothing at all": door(b"", "body is empty"),
    "0 rows": door(b"a,y\n", "no rows below the header"),
    "0 rows but empty lines": door(b"a,y\n\n\n\n", "no rows below the header"),
    "NUL bytes": door(GOOD + b"1,\x00,low\n", "NUL byte"),
    "Latin-1": door(GOOD + b"1,2,h\xf6her\n", r"not UTF-8 \(byte \d+\)"),
    "UTF-16 without a mark": door(GOOD.decode().encode("utf-16-le"), "NUL byte"),
    "an encoding that is none": door(GOOD, "no encoding klingon", encoding="klingon"),
    "5,000 columns": door(b",".join(b"c%d" % n for n in range(5000)) + b"\n" + b"1," * 4999 + b"x\n", "5,000 columns"),
    "one column": door(b"y\n1\n2\n", "at least one feature"),
    "semicolons and commas": door(b"a;b;y\n" + b"1;2,5;low\n1;2;high\n" * 20 + b"1\n", "delimiter=;"),
    "two columns of one name": door(b"a,a,y\n1,2,3\n", "a name of its own"),
    "target missing": door(GOOD, "no column colour to predict; the columns are a, b, y", target="colour"),
    "weight missing": door(GOOD, "no column heavy of weights", weight="heavy"),
    "ragged: too many fields": Bad(GOOD + b"1,2,low,4\n", "line 102 has 4 fields and the header 3"),
    "ragged: too few fields": Bad(GOOD + b"1,2\n", "line 102 has 2 fields and the header 3"),
    "too few rows": Bad(table(lambda n: f"{n},{n % 2}", rows=9), "9 rows; it takes at least 10"),
    "one class": Bad(table(lambda n: f"{n},low"), "'y' has fewer than two classes: low"),
    "constant target": Bad(table(lambda n: f"{n},0.5"), "'y' is the same in all rows"),
    "a target of gaps": Bad(table(lambda n: f"{n},"), "'y', has missing values in 100 rows"),
    "a class per row": Bad(table(lambda n: f"{n},c{n}", rows=1200), "1200 classes; at most 1000"),
    "infinite values": Bad(table(lambda n: f"{'inf' if n == 7 else n},{n % 2}"), "'a' holds infinite values"),
    "more than a number takes": Bad(table(lambda n: f"{n}e999,{n % 2}"), "'a' holds infinite values"),
    "numbers of 400 digits": Bad(table(lambda n: f"1{n:0400},{n % 2}"), "'a'"),
    "only empty features": Bad(table(lambda n: f",{n % 2}"), "no column with values"),
    "only texts that all differ": Bad(table(lambda n: f"id-{n},{n % 2}", rows=600), "no column with values"),
    "a quote that never ends": Bad(GOOD + b'1,2,"low\n' + GOOD[6:], "(?i)inside string|quot|unexpected end of data"),
    "a quote in the first column that never ends": Bad(GOOD + b'"1,2,low\n' + GOOD[6:], "line .* has 1 fields|quot|end of data"),
    "a quote in the header that never ends": Bad(b'a,"y\n' + b"1,x\n" * 50, "(?i)inside string|quot|unexpected end of data|name"),
    "a huge cell": Bad(GOOD + b"x" * 10_001 + b",2,low\n", "a cell of column 'a' is longer than 10,000 characters"),
    "a cell of 200,000": Bad(GOOD + b"x" * 200_000 + b",2,low\n", "line 102 .* field limit"),
    "a long class": Bad(GOOD + b"1,2," + b"x" * 201 + b"\n", "class of 'y' is longer than 200 characters"),
    "negative weights": Bad(GOOD.replace(b"\n3,", b"\n-3,"), "'a', has missing or negative", options={"weight": "a"}),
    "weights of text": Bad(table(lambda n: f"{n},w{n % 3},{n % 2}", "a,w,y"), "'w', holds text", options={"weight": "w"}),
    "text for a regression": Bad(GOOD, "'y' holds values of type category", options={"task": "regression"}),
    "mixed types for a regression": Bad(
        table(lambda n: f"{n},{'many' if n % 3 == 0 else n}"), "'y' holds values of type category", options={"task": "regression"}
    ),
    "fractions for classes": Bad(table(lambda n: f"{n},{n / 2}"), "'y' holds fractions", options={"task": "classification"}),
}  # fmt: skip

DEEP = {"estimator": "DecisionTreeClassifier", "params": {"max_depth": "deep"}}
OPTIONS = {
    "a metric of the other task": Bad(GOOD, "rmse is no metric of a classification", options={"metric": "rmse"}),
    "an estimator of the other task": Bad(GOOD, "Ridge is not for classification", options={"estimator": "Ridge"}),
    "a parameter's value that is none": Bad(
        GOOD, "'max_depth' parameter of DecisionTreeClassifier", "training-failed", options=DEEP
    ),
    "an estimator that raises in fit": Bad(
        table(lambda n: f"{n},{n - 50.5}"), "out of the valid range", "training-failed", options={"estimator": "GammaRegressor"}
    ),
    "an estimator that raises in predict": Bad(
        GOOD, "n_neighbors", "training-failed", options={"estimator": "KNeighborsClassifier", "params": {"n_neighbors": 500}}
    ),
    "weights for one that takes none": Bad(
        GOOD, "KNeighborsClassifier takes no sample weights", options={"estimator": "KNeighborsClassifier", "weight": "b"}
    ),
    "a search that knows no parameters": Bad(
        GOOD, "nothing to search for GaussianNB", options={"estimator": "GaussianNB", "search": 5}
    ),
    "a search on too few rows": Bad(
        table(lambda n: f"{n},{n},{'high' if n in (3, 8) else 'low'}", "a,b,y", rows=12), "(?i)rows|samples",
        options={"estimator": "SVC", "search": 5},
    ),
}  # fmt: skip

OTHERS = {
    "nested NDJSON": Bad(lines(lambda n: '{"b": 1}' if n else "1"), "one flat object a line", format="ndjson"),
    "an array in NDJSON": Bad(lines(lambda n: "[1]" if n else "1"), "one flat object a line", format="ndjson"),
    "NDJSON that is no object": door(b"[1, 2]\n[3, 4]\n", "first line is no JSON object", "ndjson"),
    "half an NDJSON": Bad(lines(str) + b'{"a": 1, "y', "NDJSON cannot be read", format="ndjson"),
    "NDJSON in Latin-1": Bad(lines(str) + b'{"a": 1, "y": "\xe9"}\n', "NDJSON cannot be read", format="ndjson"),
    "integers of 400 digits": Bad(lines(lambda n: f"1{n:0400}"), "'a'", format="ndjson"),
    "half a Parquet": door(plain_parquet()[:500], "no Parquet file, or not all of it", "parquet"),
    "a Parquet without its middle": Bad(plain_parquet()[:500] + plain_parquet()[-200:], "cannot be read", format="parquet"),
    "a Parquet with other bytes": Bad(
        plain_parquet()[:200] + b"\xff" * 300 + plain_parquet()[500:], "cannot be read", format="parquet"
    ),
    "a column of lists": Bad(parquet({"a": [[1], [2]] * 50, "y": ["x", "y"] * 50}), "'a' .*plain values", format="parquet"),
    "a column of records": Bad(parquet({"a": [{"b": 1}, {"b": 2}] * 50, "y": ["x", "y"] * 50}), "'a' .*plain", format="parquet"),
    "a column of bytes": Bad(parquet({"a": [b"1", b"2"] * 50, "y": ["x", "y"] * 50}), "'a' .*plain", format="parquet"),
    "a Parquet without the target": Bad(
        plain_parquet(), "no column 'colour' to predict", format="parquet", options={"target": "colour"}
    ),
    "a Parquet of no rows": Bad(parquet(dict.fromkeys("ay", pa.array([], pa.int8()))), "no rows", format="parquet"),
}  # fmt: skip
BAD = {**CSVS, **OPTIONS, **OTHERS}


def trainers(service: Service) -> set[int]:
    """Return the train worker's processes: the parent and its child."""
    parent = psutil.Process(service.children()["train"].pid)
    return {parent.pid, *(child.pid for child in parent.children())}


@pytest.fixture(scope="module", autouse=True)
def before(service: Service) -> set[int]:
    until(lambda: len(trainers(service)) > 1, 60, "the worker trains")
    return trainers(service)


def check(client: Client, bad: Bad, folder: Path) -> None:
    path = folder / f"table.{bad.format}"
    path.write_bytes(bad.body)
    with pytest.raises(Problem) as raised:
        client.train(path, model="bad-table", **bad.options).wait(PATIENCE)
    problem = raised.value
    assert (problem.status, problem.type.split(":")[-1]) == (bad.status, bad.code), problem.detail
    assert re.search(bad.says, problem.detail), problem.detail
    assert "Traceback" not in problem.detail


@pytest.mark.parametrize("what", BAD)
def test_a_bad_table_says_what_is_wrong_with_it(client: Client, tmp_path: Path, what: str) -> None:
    check(client, BAD[what], tmp_path)


@pytest.mark.parametrize("bomb", [bomb_of_rows, bomb_of_text])
@pytest.mark.slow
def test_a_bomb_is_never_unpacked(service: Service, client: Client, tmp_path: Path, bomb: Callable[[], bytes]) -> None:
    body = bomb()
    assert len(body) < 500_000
    check(client, Bad(body, "too much|no column with values", format="parquet"), tmp_path)
    assert max(map(most_resident, trainers(service))) < 1_500_000_000


def most_resident(pid: int) -> int:
    """Return the peak resident memory of the process in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


@pytest.mark.parametrize("what", ["numbers of 400 digits", "integers of 400 digits", "infinite values", "a column of lists"])
def test_bad_rows_for_a_data_set_say_what_is_wrong_too(client: Client, tmp_path: Path, what: str) -> None:
    bad = BAD[what]
    path = tmp_path / f"rows.{bad.format}"
    path.write_bytes(bad.body)
    with pytest.raises(Problem, match=bad.says) as raised:
        client.add_rows("bad-rows", path).wait(PATIENCE)
    assert raised.value.type.split(":")[-1] == "bad-training-data"
    assert "bad-rows" not in {each["name"] for each in client.datasets()}


def test_nothing_bad_becomes_a_version_or_a_data_set(client: Client) -> None:
    assert all(each["versions"] == [] for each in client.models() if each["name"] == "bad-table")
    assert "bad-table" not in {each["name"] for each in client.datasets()}
    with pytest.raises(Problem, match=r"no version yet|no model bad-table") as raised:
        client.predict({"a": 1}, model="bad-table")
    assert raised.value.status == 404


def test_a_column_of_mixed_types_is_one_of_words(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "mixed.ndjson"
    path.write_bytes(lines(lambda n: ("true", '"x"', "1.0", "1.5", "null", str(n))[n % 6]))
    client.train(path, model="mixed-types", promote="always").wait(PATIENCE)
    categories = client.version("mixed-types")["card"]["schema"]["features"][0]["categories"]
    assert {"True", "x", "1", "1.5"} <= set(categories)


def test_worker_survives_all_bad_tables(service: Service, client: Client, before: set[int]) -> None:
    result = client.train(GOOD, model="good", estimator="DecisionTreeClassifier").wait(PATIENCE)
    assert result["metrics"]["accuracy"] == 1
    assert client.predict({"a": 1, "b": 6}, model="good").wait(PATIENCE)["prediction"] == "high"
    assert trainers(service) == before


@pytest.mark.parametrize("path", ["/train", "/datasets/twice"])
def test_no_form_field_is_ignored_silently(service: Service, path: str) -> None:
    file = ("file", ("rows.csv", GOOD, "text/csv"))
    two = requests.post(service.url + path, files=[file, file], timeout=20)
    assert (two.status_code, two.json()["detail"]) == (422, "the form has 2 files; it takes one")
    twice = requests.post(service.url + path, files=[file], data=[("target", "y"), ("target", "a")], timeout=20)
    assert (twice.status_code, twice.json()["errors"][0]["pointer"]) == (422, "/target")


def test_a_form_for_a_data_set_has_no_options(service: Service) -> None:
    file = ("file", ("rows.csv", GOOD, "text/csv"))
    answer = requests.post(service.url + "/datasets/labelled", files=[file], data={"label": "nightly"}, timeout=20)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/label")


def test_bad_form_error_explains_the_format(service: Service) -> None:
    forgotten = requests.post(service.url + "/train", files={"file": (None, "rows.csv")}, timeout=20)
    assert "file=@" in forgotten.json()["detail"]
    file = ("file", ("rows.csv", GOOD, "text/csv"))
    beside = requests.post(service.url + "/train", files=[file], data={"label": "nightly"}, timeout=20)
    assert "in the query" in beside.json()["errors"][0]["detail"]
