"""Errors for clients of other protocols: the JSON members that those expect, beside the ones of RFC 9457."""

MLFLOW = ("/invocations", "/ping", "/version")

# MLflow's error codes, by status.
CODES = {
    401: "CUSTOMER_UNAUTHORIZED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    422: "INVALID_PARAMETER_VALUE",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}


def error_members(path: str, status: int, detail: str) -> dict[str, str]:
    """``error`` is what clients of the Open Inference Protocol show, ``error_code`` and ``message`` what those of MLflow do."""
    if path == "/v2" or path.startswith("/v2/"):
        return {"error": detail}
    if path in MLFLOW:
        return {"error_code": CODES.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR"), "message": detail}
    return {}
