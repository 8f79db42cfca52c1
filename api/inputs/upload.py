"""The table in the body of a request: its format, and its columns and rows as far as a quick look shows them."""

import csv
import io
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qsl

import msgspec
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from api.http.body import mimetype
from api.http.context import api_context
from api.http.operation import Media
from api.http.problems import HTTPProblem
from models.csv_format import DELIMITERS, decoded, delimiter_of, encoding_error
from models.input_errors import InputError, InvalidInput, listed
from models.options import Format

FORMATS: dict[str, Format] = {
    "text/csv": "csv",
    "application/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
}
EXTENSIONS: dict[str, Format] = {"csv": "csv", "parquet": "parquet", "ndjson": "ndjson", "jsonl": "ndjson"}
FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
FILES = (Media("text/csv", str), Media("application/vnd.apache.parquet"), Media("application/x-ndjson", str))
FORM = "multipart/form-data"
TABLES = (*FILES, Media(FORM, {"type": "object", "properties": {"file": FILE}, "required": ["file"]}))
MAX_COLUMNS = 1001
ACCEPTED = "a table as text/csv, application/vnd.apache.parquet, application/x-ndjson, or a file as multipart/form-data"


class Upload(NamedTuple):
    """``options``: the other fields of a form. ``columns``: the names in the header or the first line, empty for Parquet.
    ``rows``: 0 if unknown."""

    body: bytes
    format: Format
    options: dict[str, str]
    columns: list[str]
    rows: int


def is_table() -> bool:
    return mimetype() in FORMATS or mimetype() == FORM


def upload() -> Upload:
    """Reads the table of the current request. Raises HTTPProblem or InvalidInput."""
    if mimetype() == FORM:
        return _read_form()
    return _inspect(api_context().body, FORMATS[mimetype()], {})


def _csv_options(form: dict[str, str]) -> tuple[str, str]:
    """The delimiter and the encoding of a CSV, as the query or the form says."""
    said = {**dict(parse_qsl(api_context().query)), **form}
    return said.get("delimiter", ""), said.get("encoding", "")


def _read_form() -> Upload:
    """Reads the only file of a form. Its content type or its file name shows the format; the other fields are options."""
    context = api_context()
    parser = FormDataParser(max_form_memory_size=100_000, max_form_parts=100, silent=False)
    options = dict(
        part.strip().split("=", 1) for part in (context.headers.get("content-type") or "").split(";")[1:] if "=" in part
    )
    options = {name.lower(): value.strip('"') for name, value in options.items()}
    try:
        _, form, files = parser.parse(io.BytesIO(context.body), FORM, len(context.body), options)
    except (ValueError, RequestEntityTooLarge) as error:
        raise HTTPProblem("bad-table", f"the form cannot be read: {error}") from None
    count = sum(len(each) for _, each in files.lists())
    if count != 1:
        hint = (
            f" (of {', '.join(form)[:200]} the text came: with curl a file is sent as file=@its-name)"
            if form and not count
            else ""
        )
        raise HTTPProblem("bad-table", f"the form has {count} files; it takes one{hint}")
    file = next(iter(files.values()))
    format_ = FORMATS.get(file.mimetype) or EXTENSIONS.get((file.filename or "").rpartition(".")[2].lower())
    if format_ is None:
        raise HTTPProblem(
            "bad-table", f"the format of the file {(file.filename or '')[:100]} is not known: name it .csv, .parquet or .ndjson"
        )
    return _inspect(file.read(), format_, _single(form))


def _single(form: "MultiDict[str, str]") -> dict[str, str]:
    """The fields of a form, without empty ones. Raises InvalidInput for a field that comes twice."""
    twice = next((name for name, values in form.lists() if len(values) > 1), None)
    if twice is not None:
        raise InvalidInput([InputError(f"/{twice[:80]}", "give this once")])
    return {name: value for name, value in form.items() if value}


def _inspect(body: bytes, format_: Format, options: dict[str, str]) -> Upload:
    if not body.strip():
        raise HTTPProblem("bad-table", "the body is empty: send a table")
    columns, rows = _inspect_csv(body, *_csv_options(options)) if format_ == "csv" else _INSPECTORS[format_](body)
    if columns and len(columns) < 2:
        hint = " (one column was found: say what separates them, as in delimiter=;)" if ";" in columns[0] else ""
        raise HTTPProblem("bad-table", f"a table has a target and at least one feature{hint}")
    if len(columns) > MAX_COLUMNS:
        raise HTTPProblem("bad-table", f"{len(columns):,} columns; a target and at most {MAX_COLUMNS - 1:,} features are taken")
    return Upload(body, format_, options, columns, rows)


def _inspect_csv(body: bytes, delimiter: str, encoding: str) -> tuple[list[str], int]:
    text = csv_text(body, encoding)
    header = csv_header(text, delimiter if delimiter in DELIMITERS else "")
    rows = text.rstrip("\n").count("\n")
    if rows < 1:
        raise HTTPProblem("bad-table", "there are no rows below the header")
    return header, rows


def csv_text(body: bytes, encoding: str = "") -> str:
    """Raises HTTPProblem if the body is not in this encoding or contains NUL."""
    try:
        text = decoded(body, encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise HTTPProblem("bad-table", encoding_error(error, encoding[:40])) from None
    if "\0" in text:
        raise HTTPProblem("bad-table", "the CSV holds a NUL byte")
    return text


def csv_header(text: str, delimiter: str = "") -> list[str]:
    """The column names. Raises HTTPProblem for a header that cannot be used."""
    try:
        header = next(csv.reader(io.StringIO(text[:1_000_000]), delimiter=delimiter or delimiter_of(text)), [])
    except csv.Error as error:
        raise HTTPProblem("bad-table", f"the CSV's header cannot be read: {error}") from None
    if len(set(header)) < len(header) or not all(name.strip() for name in header):
        raise HTTPProblem("bad-table", "each column needs a name of its own in the header line (in pandas: to_csv(index=False))")
    if len(header) > 1 and sum(map(_is_number, header)) * 2 > len(header):
        raise HTTPProblem("bad-table", f"the first line is no header but a row ({listed(header)[:200]}): name the columns in it")
    return header


def _inspect_ndjson(body: bytes) -> tuple[list[str], int]:
    first = body.lstrip().partition(b"\n")[0]
    try:
        columns = list(msgspec.json.decode(first, type=dict[str, msgspec.Raw]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPProblem("bad-table", f"the first line is no JSON object: {error}") from None
    return columns, body.rstrip().count(b"\n") + 1


def _inspect_parquet(body: bytes) -> tuple[list[str], int]:
    if body[:4] != b"PAR1" or body[-4:] != b"PAR1":
        raise HTTPProblem("bad-table", "this is no Parquet file, or not all of it")
    return [], 0


_INSPECTORS: dict[Format, Callable[[bytes], tuple[list[str], int]]] = {
    "ndjson": _inspect_ndjson,
    "parquet": _inspect_parquet,
}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
