"""Values in rows or in columns, as the array of measurements that POST /predict takes."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import isfinite

import msgspec

from api.http.body import read_json
from api.http.problems import HTTPProblem
from api.inputs.measurements import MeasurementInput, in_columns, in_rows
from api.inputs.upload import csv_header, csv_text
from models.feature import NUMBERS, Feature
from models.input_errors import InputError, InvalidInput, TooManyRows, listed
from models.parquet_rows import MAX_CELLS, Cell, Exact
from models.schema import Schema
from models.validation import fault_of

MISSING = frozenset(
    {
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    }
)  # where a training sees no value either: pandas' list
MAX_NAMED = 50_000_000  # characters
BOOLEANS = {"true": True, "false": False, "1": True, "0": False}

_any_json = msgspec.json.Decoder(msgspec.Raw)


def from_rows(names: Sequence[str], rows: Iterable[Sequence[Cell]], at: str) -> MeasurementInput:
    """``at`` points to the rows. Raises InvalidInput if one has not a value per name."""
    return MeasurementInput(measurements(names, rows, at), at, in_rows(names, at))


def measurements(names: Sequence[str], rows: Iterable[Sequence[Cell]], at: str) -> bytes:
    """Raises InvalidInput if one has not a value per name, or TooManyRows if the names would take too much when each row has
    them."""
    found, width = list[dict[str, Cell]](), sum(map(len, names))
    for place, row in enumerate(rows):
        if place * width > MAX_NAMED:
            raise TooManyRows("too many measurements of so many or so long columns in one request: send fewer")
        found.append(_measurement(names, row, f"{at}/{place}"))
    return msgspec.json.encode(found)


def from_columns(columns: dict[str, list[Cell]], places: Mapping[str, str], at: str) -> MeasurementInput:
    """``places`` point to the columns, ``at`` to all of them. Raises InvalidInput if they are not of one length."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        told = listed([f"{name[:80]} {length}" for name, length in lengths.items()])
        raise InvalidInput([InputError(at, f"the columns are not of one length: {told}")])
    return MeasurementInput(measurements(list(columns), zip(*columns.values(), strict=True), at), at, in_columns(places))


def from_lists(body: msgspec.Raw | bytes, schema: Schema, most: int, at: str) -> MeasurementInput:
    """Of lists of values in the order of the schema's features."""
    rows = read_json(body, list[list[Cell]], partial(fault_of, at=at))
    check_rows(len(rows), most)
    return from_rows(schema.names, rows, at)


def from_csv(body: bytes, schema: Schema, most: int) -> MeasurementInput:
    """With a header. A text is read as its feature's type, and is no value where a training sees none. Raises HTTPProblem,
    InvalidInput or TooManyRows."""
    text = csv_text(body)
    names = csv_header(text)
    if not names:
        raise HTTPProblem("bad-table", "the body is empty: send a header line and a line for each measurement")
    types = {feature.name: feature for feature in schema.features}
    readers = [_reader(types.get(name)) for name in names]
    rows = _lines(text, len(names), most)
    return _of_file(names, schema, ([read(cell) for read, cell in zip(readers, row, strict=True)] for row in rows))


def from_ndjson(body: bytes, most: int) -> MeasurementInput:
    """One measurement a line; an empty line is none. Raises HTTPProblem or TooManyRows."""
    found: list[msgspec.Raw] = []
    for number, line in enumerate(io.BytesIO(body), 1):
        if not line.isspace():
            check_rows(len(found) + 1, most)
            found.append(_json_of(line, number))
    if not found:
        raise HTTPProblem("bad-table", "the body is empty: send a line for each measurement")
    return MeasurementInput(msgspec.json.encode(found))


def from_unpacked(columns: Mapping[str, list[Exact]], schema: Schema) -> MeasurementInput:
    """Of a Parquet file, in which a word may be a number, and true a 1: as they would be trained on."""
    features = {feature.name: feature for feature in schema.features}
    read = [[_fitting(cell, features.get(name)) for cell in column] for name, column in columns.items()]
    return _of_file(list(columns), schema, zip(*read, strict=True))


def _of_file(names: Sequence[str], schema: Schema, rows: Iterable[Sequence[Exact]]) -> MeasurementInput:
    """The first row shows what columns there are that the model does not take; the others are without them."""
    taken = {*schema.names, *schema.ignored}
    known = [(name, place) for place, name in enumerate(names) if name in taken]
    found: list[dict[str, Exact]] = []
    for row in rows:
        found.append({name: row[place] for name, place in known} if found else dict(zip(names, row, strict=True)))
    return MeasurementInput(msgspec.json.encode(found))


def _json_of(line: bytes, number: int) -> msgspec.Raw:
    try:
        return _any_json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPProblem("bad-table", f"line {number} of the NDJSON cannot be read (one object a line): {error}") from None


def check_rows(rows: int, most: int) -> None:
    if rows > most:
        raise TooManyRows(f"{rows} measurements in one request; at most {most}")


def _measurement(names: Sequence[str], row: Sequence[Cell], at: str) -> dict[str, Cell]:
    if len(row) != len(names):
        raise InvalidInput([InputError(at, f"expected {len(names)} values ({listed(list(names))}), got {len(row)}")])
    return dict(zip(names, row, strict=True))


def _lines(text: str, width: int, most: int) -> list[list[str]]:
    """Below the header; an empty line is none."""
    lines = csv.reader(io.StringIO(text), strict=True)
    found: list[list[str]] = []
    try:
        next(lines)
        for line in lines:
            if line and len(line) != width:
                raise HTTPProblem("bad-table", f"line {lines.line_num} has {len(line)} fields and the header {width}")
            if line:
                found.append(line)
                check_rows(len(found), most)
            if len(found) * width > MAX_CELLS:
                raise TooManyRows(f"more than {MAX_CELLS:,} values in one request: send fewer rows")
    except csv.Error as error:
        raise HTTPProblem("bad-table", f"line {lines.line_num} of the CSV cannot be read: {error}") from None
    return found


def _reader(feature: Feature | None) -> Callable[[str], Cell]:
    """What cannot be read stays text, and is told as that."""
    if feature is None:
        return str
    read = _number if feature.type in NUMBERS else _boolean if feature.type == "boolean" else str
    words = MISSING.difference(feature.categories)
    return lambda text: None if text in words else read(text)


def _fitting(cell: Exact, feature: Feature | None) -> Exact:
    if feature is None or cell is None or isinstance(cell, str):
        return cell
    if feature.type == "category":
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
