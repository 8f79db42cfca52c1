"""Converts values in rows or in columns to the array of measurements that POST /predict takes."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import isfinite
from types import NoneType
from typing import Any

import msgspec

from api.http.body import read_json
from api.http.problems import HTTPProblem
from api.inputs.measurements import MeasurementInput, in_columns, in_rows
from api.inputs.upload import csv_header, csv_text
from models.feature import NUMBERS, TEXTS, Feature
from models.input_errors import InputError, InvalidInput, TooManyRows, listed
from models.parquet_rows import MAX_CELLS, Cell, Exact
from models.schema import Schema
from models.validation import refuse_duplicates, to_input_error

MISSING = frozenset(
    {
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    }
)  # texts that pandas reads as missing values in a training too
MAX_NAME_CHARACTERS = 50_000_000
BOOLEANS = {"true": True, "false": False, "1": True, "0": False}

_any_json = msgspec.json.Decoder(msgspec.Raw)
_flat_json = msgspec.json.Decoder(dict[str, Exact])


def from_rows(names: Sequence[str], rows: Iterable[Sequence[Cell]], at: str) -> MeasurementInput:
    """``at``: the JSON pointer of the rows. Raises InvalidInput if a row does not have one value per name."""
    return MeasurementInput(measurements(names, rows, at), at, in_rows(names, at))


def measurements(names: Sequence[str], rows: Iterable[Sequence[Cell]], at: str) -> bytes:
    """Raises InvalidInput if a row does not have one value per name, or TooManyRows if the names, repeated in each row, would
    take too much memory."""
    found, width = list[dict[str, Cell]](), sum(map(len, names))
    for index, row in enumerate(rows):
        if index * width > MAX_NAME_CHARACTERS:
            raise TooManyRows("too many measurements of so many or so long columns in one request: send fewer")
        found.append(_measurement(names, row, f"{at}/{index}"))
    return msgspec.json.encode(found)


def from_columns(columns: dict[str, list[Cell]], pointers: Mapping[str, str], at: str) -> MeasurementInput:
    """``pointers``: the JSON pointer of each column; ``at``: that of the whole. Raises InvalidInput for columns of
    different lengths."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listing = listed([f"{name[:80]} {length}" for name, length in lengths.items()])
        raise InvalidInput([InputError(at, f"the columns are not of one length: {listing}")])
    return MeasurementInput(measurements(list(columns), zip(*columns.values(), strict=True), at), at, in_columns(pointers))


def from_lists(body: msgspec.Raw | bytes, schema: Schema, max_rows: int, at: str) -> MeasurementInput:
    """Reads lists of values in the order of the schema's features."""
    rows = read_json(body, list[list[Cell]], partial(to_input_error, at=at))
    check_rows(len(rows), max_rows)
    return from_rows(schema.names, rows, at)


def from_csv(body: bytes, schema: Schema, max_rows: int) -> MeasurementInput:
    """Reads CSV with a header. A text is converted to the type of its feature; it is a missing value where it is one in a
    training. Raises HTTPProblem, InvalidInput or TooManyRows."""
    text = csv_text(body)
    names = csv_header(text)
    if not names:
        raise HTTPProblem("bad-table", "the body is empty: send a header line and a line for each measurement")
    types = {feature.name: feature for feature in schema.features}
    readers = [_reader(types.get(name)) for name in names]
    rows = _lines(text, len(names), max_rows)
    return _from_file(names, schema, ([read(cell) for read, cell in zip(readers, row, strict=True)] for row in rows))


def from_ndjson(body: bytes, schema: Schema, max_rows: int) -> MeasurementInput:
    """Reads one measurement per line; empty lines are skipped. Numbers are converted to categories as a training does. Raises
    HTTPProblem or TooManyRows."""
    found: list[msgspec.Raw] = []
    for number, line in enumerate(io.BytesIO(body), 1):
        if not line.isspace():
            check_rows(len(found) + 1, max_rows)
            found.append(_json_of(line, number))
    if not found:
        raise HTTPProblem("bad-table", "the body is empty: send a line for each measurement")
    texts = {feature.name: feature for feature in schema.features if feature.type in TEXTS}
    return MeasurementInput(msgspec.json.encode([_with_texts(line, texts) for line in found] if texts else found))


def from_parquet(columns: Mapping[str, list[Exact]], schema: Schema) -> MeasurementInput:
    """Converts the columns of a Parquet file as a training does: numbers to categories, and 0 and 1 to booleans."""
    features = {feature.name: feature for feature in schema.features}
    read = [[_convert(cell, features.get(name)) for cell in column] for name, column in columns.items()]
    return _from_file(list(columns), schema, zip(*read, strict=True))


def _from_file(names: Sequence[str], schema: Schema, rows: Iterable[Sequence[Exact]]) -> MeasurementInput:
    """Keeps unknown columns only in the first row, which is enough to report them."""
    accepted = {*schema.names, *schema.ignored}
    known = [(name, index) for index, name in enumerate(names) if name in accepted]
    found: list[dict[str, Exact]] = []
    for row in rows:
        found.append({name: row[index] for name, index in known} if found else dict(zip(names, row, strict=True)))
    return MeasurementInput(msgspec.json.encode(found))


def _with_texts(line: msgspec.Raw, texts: Mapping[str, Feature]) -> Any:
    """The measurement with numbers made texts where the model takes texts. What is no flat object stays as it is, and is refused
    later. Raises InvalidInput for a name that comes twice."""
    try:
        measurement = _flat_json.decode(line)
    except (msgspec.ValidationError, RecursionError):
        return line
    if all(type(measurement.get(name)) in (str, NoneType) for name in texts):
        return line
    refuse_duplicates(bytes(line))
    return {name: _convert(cell, texts.get(name)) for name, cell in measurement.items()}


def _json_of(line: bytes, number: int) -> msgspec.Raw:
    try:
        return _any_json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPProblem("bad-table", f"line {number} of the NDJSON cannot be read (one object a line): {error}") from None


def check_rows(rows: int, max_rows: int) -> None:
    if rows > max_rows:
        raise TooManyRows(f"{rows} measurements in one request; at most {max_rows}")


def _measurement(names: Sequence[str], row: Sequence[Cell], at: str) -> dict[str, Cell]:
    if len(row) != len(names):
        raise InvalidInput([InputError(at, f"expected {len(names)} values ({listed(list(names))}), got {len(row)}")])
    return dict(zip(names, row, strict=True))


def _lines(text: str, width: int, max_rows: int) -> list[list[str]]:
    """The lines after the header, without empty ones."""
    lines = csv.reader(io.StringIO(text), strict=True)
    found: list[list[str]] = []
    try:
        next(lines)
        for line in lines:
            if line and len(line) != width:
                raise HTTPProblem("bad-table", f"line {lines.line_num} has {len(line)} fields and the header {width}")
            if line:
                found.append(line)
                check_rows(len(found), max_rows)
            if len(found) * width > MAX_CELLS:
                raise TooManyRows(f"more than {MAX_CELLS:,} values in one request: send fewer rows")
    except csv.Error as error:
        raise HTTPProblem("bad-table", f"line {lines.line_num} of the CSV cannot be read: {error}") from None
    return found


def _reader(feature: Feature | None) -> Callable[[str], Cell]:
    """Returns the converter of a column. A text that cannot be converted stays as it is, and the schema refuses it."""
    if feature is None:
        return str
    read = _number if feature.type in NUMBERS else _boolean if feature.type == "boolean" else str
    missing = MISSING.difference(feature.categories)
    return lambda text: None if text in missing else read(text)


def _convert(cell: Exact, feature: Feature | None) -> Exact:
    if feature is None or cell is None or isinstance(cell, str):
        return cell
    if feature.type in TEXTS:
        return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
    return bool(cell) if feature.type == "boolean" and cell in (0, 1) else cell


def _number(text: str) -> Cell:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if isfinite(number) and text.isascii() and "_" not in text else text


def _boolean(text: str) -> Cell:
    return BOOLEANS.get(text.lower(), text)
