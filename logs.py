"""Logging of every process: to standard error, with exactly one line per event."""

import logging

FORBIDDEN = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0))}
FORBIDDEN |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029"}


class OneLine(logging.Formatter):
    """Escapes control characters, which could end a line or control a terminal, and the line ends of tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).translate(FORBIDDEN)


def log_to_stderr(name: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(f"%(asctime)s {name} %(process)d %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(capture=True)
