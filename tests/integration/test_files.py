"""POST /predict of CSV, NDJSON and Parquet gives what the same measurements give as JSON."""

import asyncio
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.parquet_process import MAX_WAITING, ParquetProcess, TooManyFiles
from mldeploy.client import Client
from modeler import table
from tests.integration.dialects import FLOWERS, SOME, SOME_PETS, post, predicted, problem, records, train_models
from tests.service import Service

CSV, NDJSON, PARQUET = "text/csv", "application/x-ndjson", "application/vnd.apache.parquet"
PETS = pd.DataFrame(SOME_PETS)


@pytest.fixture(scope="module", autouse=True)
def models(service: Service) -> None:
    train_models(Client(service.url))


def parquet(frame: pd.DataFrame | pa.Table, **how: Any) -> bytes:
    held = io.BytesIO()
    pq.write_table(frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame), held, **how)
    return held.getvalue()


def ndjson(rows: list[dict[str, Any]]) -> str:
    return "\n".join(map(json.dumps, rows))


def of_file(service: Service, path: str, body: Any, content_type: str) -> list[dict[str, Any]]:
    found = post(service.url + path, body, content_type, Prefer="wait=60")
    assert found.status_code == 200, found.text
    predictions: list[dict[str, Any]] = found.json()["result"]["predictions"]
    assert found.json()["rows"] == len(predictions)
    return predictions


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (CSV, SOME.to_csv(index=False)),
        (CSV + "; charset=utf-8", "\ufeff" + SOME.iloc[:, ::-1].to_csv(index=False, lineterminator="\r\n")),
        (NDJSON, ndjson(records(SOME))),
        ("application/jsonl", ndjson(records(SOME)).replace("\n", "\r\n\r\n") + "\n"),
        (PARQUET, parquet(SOME)),
        (PARQUET, parquet(SOME.set_index(SOME.index + 3), row_group_size=4, compression="zstd")),
        ("application/x-parquet", parquet(SOME.astype("float32").astype(str).astype(float))),
    ],
)
def test_a_file_of_flowers(service: Service, client: Client, content_type: str, body: Any) -> None:
    assert of_file(service, "/predict", body, content_type) == predicted(client, records(SOME))
    assert of_file(service, "/predict?proba=true", body, content_type) == predicted(client, records(SOME), proba=True)


PETS_TYPED = PETS.assign(kind=PETS["kind"].astype("category"), born=[date.fromisoformat(born) for born in PETS["born"]])
MARS = pa.timestamp("us", "Mars/Phobos")  # a zone that is in no database
AGES = [each["age"] for each in SOME_PETS]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (CSV, PETS.to_csv(index=False)),
        (NDJSON, ndjson(SOME_PETS)),
        (PARQUET, parquet(PETS)),
        (PARQUET, parquet(PETS_TYPED)),
        (PARQUET, parquet(PETS.assign(born=pd.to_datetime(PETS["born"]), tame=PETS["tame"].astype("int8")))),
        (PARQUET, parquet(PETS.assign(born=pd.to_datetime(PETS["born"]).dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")))),
        (PARQUET, parquet(pa.table({**PETS.to_dict("list"), "born": pa.array(pd.to_datetime(PETS["born"]), MARS)}))),
        (PARQUET, parquet(PETS.assign(age=pd.Series([Decimal(age) if age else None for age in AGES], dtype=object)))),
    ],
)
def test_a_file_with_words_booleans_dates_and_gaps(service: Service, client: Client, content_type: str, body: Any) -> None:
    assert PETS["age"].isna().any()
    assert of_file(service, "/predict?model=pets", body, content_type) == predicted(client, SOME_PETS, "pets")


def test_whole_numbers_stay_what_they_are(service: Service, client: Client) -> None:
    """They are categories, which rounding would exchange."""
    ids = [12345678901234567 + n for n in range(4)]
    words = [str(each) for each in ids] + ["other"]
    trained = pd.DataFrame({"id": words * 20, "b": range(100), "y": [f"class {n}" for n in range(5)] * 20})
    client.train(trained, model="ids", target="y", promote="always").wait(60)
    table = pd.DataFrame({"id": ids, "b": [0] * 4})
    said = predicted(client, [{"id": str(each), "b": 0} for each in ids], "ids")
    assert of_file(service, "/predict?model=ids", parquet(table), PARQUET) == said
    assert of_file(service, "/predict?model=ids", table.to_csv(index=False), CSV) == said
    assert len({each["prediction"] for each in said}) == 4


def test_parquet_as_other_writers_encode_texts_and_on_a_machine_of_many_cores(
    service: Service, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = parquet(PETS, use_dictionary=False, column_encoding={"kind": "DELTA_BYTE_ARRAY", "born": "DELTA_LENGTH_BYTE_ARRAY"})
    assert of_file(service, "/predict?model=pets", encoded, PARQUET) == predicted(client, SOME_PETS, "pets")
    assert table.read(encoded, "parquet").frame.shape == PETS.shape
    monkeypatch.setenv("OMP_NUM_THREADS", "64")  # what Arrow takes for the number of cores
    wide = pd.DataFrame(np.random.default_rng(5).random((1000, 30)), columns=[str(n) for n in range(30)])
    command = [sys.executable, "-P", "-m", "modeler.parquet_reader", "10000"]
    output = subprocess.run(command, input=parquet(wide), capture_output=True, timeout=60, check=True).stdout
    assert {name: json.loads(output)["columns"][name] for name in ("0", "29")} == {
        "0": wide["0"].to_list(),
        "29": wide["29"].to_list(),
    }


def test_one_row_is_a_batch_of_one(service: Service, client: Client) -> None:
    one = SOME.head(1)
    for body, content_type in ((one.to_csv(index=False), CSV), (ndjson(records(one)), NDJSON), (parquet(one), PARQUET)):
        assert of_file(service, "/predict", body, content_type) == predicted(client, records(one))


def test_a_large_file(service: Service, client: Client) -> None:
    many = pd.concat([FLOWERS] * 60, ignore_index=True)
    said = predicted(client, records(FLOWERS)) * 60
    for body, content_type in ((many.to_csv(index=False), CSV), (ndjson(records(many)), NDJSON), (parquet(many), PARQUET)):
        assert of_file(service, "/predict", body, content_type) == said


def test_columns_too_many_are_refused_or_dropped(service: Service, client: Client) -> None:
    more = SOME.assign(colour="red", found=pd.Timestamp("2026-01-31"))
    for body, content_type in (
        (more.to_csv(index=False), CSV),
        (more.to_json(orient="records", lines=True, date_format="iso"), NDJSON),
        (parquet(more), PARQUET),
    ):
        error = problem(post(service.url + "/predict", body, content_type), 422, "invalid-input")
        assert error["errors"][0]["pointer"] == "/0/colour"
        assert of_file(service, "/predict?extra=drop", body, content_type) == predicted(client, records(SOME))


def test_the_place_of_what_is_wrong_is_row_and_column(service: Service) -> None:
    wrong = SOME.astype(object)
    wrong.loc[2, "petal_width"], wrong.loc[4, "sepal_width"] = "wide", np.inf
    for body, content_type in (
        (wrong.to_csv(index=False), CSV),
        (ndjson(records(wrong)).replace("Infinity", '"inf"'), NDJSON),
        (parquet(wrong.astype({"petal_width": str, "sepal_width": float})), PARQUET),
    ):
        error = problem(post(service.url + "/predict", body, content_type), 422, "invalid-input")
        pointers = {each["pointer"]: each["detail"] for each in error["errors"]}
        assert pointers["/2/petal_width"] == pointers["/4/sepal_width"] == "expected a number, got text"


REFUSED = {
    "an empty CSV": (CSV, "", 422, "bad-table", "empty"),
    "a CSV of a header": (CSV, "a,b\n", 422, "invalid-input", "empty"),
    "a ragged CSV": (CSV, "a,b\n1\n", 422, "bad-table", "line 2 has 1 fields"),
    "a CSV that is not UTF-8": (CSV, b"a,b\n\xff,1\n", 422, "bad-table", "UTF-8"),
    "CSV, rows beyond the bound": (CSV, "a\n" + "1\n" * 10_001, 422, "too-many-rows", "10000"),
    "a CSV with a name that would fill the memory in each row": (
        CSV,
        "a" * 100_000 + "\n" + "1\n" * 10_000,
        422,
        "invalid-input",
        "unknown field",
    ),
    "an empty NDJSON": (NDJSON, " \n\n", 422, "bad-table", "empty"),
    "an array as NDJSON": (NDJSON, '[{"a": 1}]', 422, "invalid-input", "expected an object"),
    "two objects with a comma": (NDJSON, '{"a": 1},{"a": 2}', 422, "bad-table", "one object a line"),
    "NDJSON cut short": (NDJSON, '{"a": 1}\n{"a"', 422, "bad-table", "one object a line"),
    "NDJSON, a field twice": (NDJSON, ndjson(records(SOME.head(1)))[:-1] + ', "petal_width": 3}', 422, "invalid-input", "twice"),
    "NDJSON, two objects on a line": (NDJSON, '{"a": 1}\n{"a": 1} {"a": 2}', 422, "bad-table", "line 2 of the NDJSON"),
    "CSV, too many cells": (
        CSV,
        ",".join(map("c{}".format, range(401))) + ("\n" + "," * 400) * 5000,
        422,
        "too-many-rows",
        "values",
    ),
    "Parquet that is long as JSON": (
        PARQUET,
        parquet(pa.table({"a": ["\x01" * 400] * 10_000, **{f"c{place}": np.full(10_000, 1 / 3) for place in range(190)}})),
        422,
        "too-many-rows",
        "bytes in one request",
    ),
    "NDJSON, nested deeply": (NDJSON, "[" * 100_000, 422, "bad-table", "one object a line"),
    "NDJSON, rows beyond the bound": (NDJSON, ndjson(records(SOME.head(1)) * 10_001), 422, "too-many-rows", "10000"),
    "an empty Parquet": (PARQUET, "", 422, "bad-table", "empty"),
    "no Parquet": (PARQUET, "a,b\n1,2\n", 422, "bad-table", "cannot be read"),
    "half a Parquet": (PARQUET, parquet(SOME)[:-20], 422, "bad-table", "cannot be read"),
    "a damaged Parquet": (PARQUET, parquet(SOME)[:40] + bytes(200) + parquet(SOME)[240:], 422, "bad-table", "cannot be read"),
    "Parquet without rows": (PARQUET, parquet(SOME.head(0)), 422, "invalid-input", "empty"),
    "Parquet of lists": (PARQUET, parquet(pa.table({"a": [[1.0]]})), 422, "bad-table", "list<element: double>"),
    "Parquet of bytes": (PARQUET, parquet(pa.table({"a": [b"x"]})), 422, "bad-table", "binary"),
    "Parquet, rows beyond the bound": (PARQUET, parquet(pa.table({"a": np.zeros(10_001)})), 422, "too-many-rows", "10000"),
    "Parquet, too many cells": (
        PARQUET,
        parquet(pa.table({f"c{place}": np.zeros(10_000) for place in range(201)})),
        422,
        "too-many-rows",
        "values",
    ),
    "Parquet, a text that repeats": (PARQUET, parquet(pa.table({"a": ["a" * 3000] * 9000})), 422, "too-many-rows", "text"),
    "Parquet that unpacks to 500 MB": (
        PARQUET,
        parquet(pa.table({"a": ["a" * 100_000_000] * 5}), compression="zstd", use_dictionary=False),
        422,
        "bad-table",
        "memory",
    ),
    "a form": ("multipart/form-data; boundary=x", "--x--", 415, "unsupported-media-type", "a file as text/csv"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_invalid_files_are_refused_at_the_door(service: Service, what: str) -> None:
    content_type, body, status, code, hint = REFUSED[what]
    error = problem(post(service.url + "/predict", body, content_type), status, code)
    assert hint in json.dumps(error, ensure_ascii=False)


def test_number_of_parquet_files_read_at_once_is_limited(service: Service, client: Client) -> None:
    """Each process reads one, a few wait, and the others get a 503 with Retry-After."""
    many, one = parquet(pd.concat([FLOWERS] * 60)), parquet(SOME)
    with ThreadPoolExecutor(40) as pool:
        files = [pool.submit(post, service.url + "/predict", many, PARQUET) for _ in range(40)]
        assert client.predict(records(SOME.head(1))[0]).wait(60)
        answers = [file.result() for file in files]
    statuses = {found.status_code for found in answers}
    assert statuses == {202, 503}
    assert sum(found.status_code == 202 for found in answers) >= MAX_WAITING
    refused = next(found for found in answers if found.status_code == 503)
    assert problem(refused, 503, "too-many-uploads")["detail"].startswith("Too many Parquet files")
    assert refused.headers["Retry-After"]
    assert of_file(service, "/predict", one, PARQUET) == predicted(client, records(SOME))


def test_one_key_does_not_block_the_others() -> None:
    body = parquet(SOME)

    async def crowd() -> list[Any]:
        unpacking = ParquetProcess(pool)
        reads = [unpacking.columns(body, 100, caller) for caller in ("alice", "alice", "alice", "bob", "bob", "carol")]
        first = await asyncio.gather(*reads, return_exceptions=True)
        return [*first, await unpacking.columns(body, 100, "alice")]

    with ThreadPoolExecutor(2) as pool:
        outcomes = asyncio.run(crowd())
    assert [type(each) for each in outcomes] == [dict, dict, TooManyFiles, dict, dict, TooManyFiles, dict]


def test_the_client_sends_files(service: Service, client: Client, tmp_path: Path) -> None:
    said = predicted(client, records(SOME))
    for name, body in (("f.csv", SOME.to_csv(index=False).encode()), ("f.ndjson", ndjson(records(SOME)).encode())):
        (tmp_path / name).write_bytes(body)
    (tmp_path / "f.parquet").write_bytes(parquet(SOME))
    for name in ("f.csv", "f.ndjson", "f.parquet"):
        assert client.predict(tmp_path / name).wait(60)["predictions"] == said
    assert client.predict(SOME.to_csv(index=False)).wait(60)["predictions"] == said
    with pytest.raises(ValueError, match="is not known"):
        client.predict(tmp_path / "f.xlsx")
