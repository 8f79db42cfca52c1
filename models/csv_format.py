"""The delimiter and the encoding of CSV files."""

import csv
from io import StringIO
from itertools import islice

DELIMITERS = (",", ";", "\t", "|")
LOOKED_AT = 200  # lines of a CSV that show its delimiter
MAX_LOOKED_AT = 1_000_000  # characters


def delimiter_of(text: str) -> str:
    """Return the delimiter that divides the first lines into equally many fields; a comma if none does."""
    for delimiter in DELIMITERS:
        try:
            lines = [row for row in islice(csv.reader(StringIO(text[:MAX_LOOKED_AT]), delimiter=delimiter), LOOKED_AT) if row]
        except csv.Error:
            continue
        if len(text) > MAX_LOOKED_AT:
            lines = lines[:-1]  # the last one may be cut
        if lines and len(lines[0]) > 1 and all(len(row) == len(lines[0]) for row in lines):
            return delimiter
    return ","


def decoded(body: bytes, encoding: str) -> str:
    """Return the text of a CSV in this encoding; by default in UTF-8, or in UTF-16 if it begins so. Raises UnicodeDecodeError or
    LookupError."""
    marked = "utf-16" if body[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return body.decode(encoding or marked)


def encoding_error(error: UnicodeDecodeError | LookupError, encoding: str) -> str:
    """Return a sentence about a body that could not be decoded."""
    if isinstance(error, UnicodeDecodeError):
        hint = "save it as UTF-8, or say its encoding, as in encoding=cp1252"
        return f"the CSV is not {encoding or 'UTF-8'} (byte {error.start}): {hint}"
    return f"there is no encoding {encoding}"
