"""What schemathesis has to know beyond OpenAPI. Loaded by tests/schemathesis.toml."""

import json
import re
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, CheckContext, HookContext, Response

HEADER = b"sepal_length,sepal_width,petal_length,petal_width,species\n"
ROW = st.tuples(*[st.floats(0, 10, width=16)] * 4, st.sampled_from(["setosa", "versicolor", "virginica"]))
TABLE = st.lists(ROW, min_size=1, max_size=30).map(
    lambda rows: HEADER + "".join(",".join(map(str, row)) + "\n" for row in rows).encode()
)
LINES = st.lists(st.fixed_dictionaries({"x": st.floats(0, 1), "y": st.sampled_from("ab")}), min_size=1, max_size=30)

schemathesis.openapi.media_type("text/csv", TABLE | st.binary(max_size=200))
schemathesis.openapi.media_type(
    "application/x-ndjson", LINES.map(lambda rows: "\n".join(map(json.dumps, rows)).encode()) | st.binary(max_size=200)
)
schemathesis.openapi.media_type(
    "application/vnd.apache.parquet", st.binary(max_size=200).map(lambda body: b"PAR1" + body + b"PAR1")
)
schemathesis.openapi.format("uri", st.sampled_from(["https://example.com/hook", "https://example.com:8443/a?b=c"]))

# Reasons to refuse input that fits the schema, by the detail of the problem or of one of its errors.
SENSELESS = re.compile(
    "|".join(
        (
            r"^ids are requested alone",  # parameters that exclude each other
            r"came with another request before",  # an Idempotency-Key that was used
            r"^give (the options in|exactly one of) ",  # two ways of one request
            r"^rows that are sent are of the data set",
            r"^there is no estimator ",  # a name that a schema would have to list
            r"^parameters are of an estimator",
            r" has no such parameter",
            r" is for (classification|regression)$",
            r"^there are no params",
            r"^\d+ measurements in one request",  # of tensors, whose shapes give their number
            r" measurements in one request",  # a setting, which a tensor reaches with its shape
            r"^The model raised an error",  # on numbers that are too large for it
        )
    )
)
TABLES = ("text/csv", "application/x-ndjson", "application/vnd.apache.parquet", "multipart/form-data")
ROWS = re.compile(r"^/(inputs|instances|dataframe_\w+|\d+)(/|$)")  # of another protocol, in which they are of any model


@schemathesis.check
def refused_for_a_reason(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """Accept a refusal of input that fits the schema if its reason cannot be expressed in a schema."""
    if case.meta is None or case.meta.generation.mode.is_negative or response.status_code != 422:
        return
    problem: dict[str, Any] = response.json()
    faults = problem.get("errors", [])
    details = [problem["detail"], *(fault["detail"] for fault in faults)]
    in_rows = case.media_type in TABLES or (faults and all(ROWS.search(fault["pointer"]) for fault in faults))
    known = in_rows or any(SENSELESS.search(detail) for detail in details)
    assert known, f"this fits the schema and is refused: {'; '.join(details)}"


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """A request with Last-Event-ID asks for events."""
    if case.headers and "Last-Event-ID" in case.headers:
        case.headers["Accept"] = "text/event-stream"


@schemathesis.hook
def filter_case(context: HookContext, case: Case[Any]) -> bool:
    """A body with unknown fields is valid if they are to be dropped."""
    dropping = isinstance(case.query, dict) and case.query.get("extra") == "drop"
    return not (dropping and case.meta and case.meta.generation.mode.is_negative)
