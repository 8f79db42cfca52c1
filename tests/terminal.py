"""What a terminal shows: the characters that a program has written, and its movements of the cursor, on a screen."""

import re

PART = re.compile(r"\x1b\[(?P<number>\??\d*(?:;\d+)*)(?P<final>[A-Za-z])|(?P<text>.)", re.DOTALL)


def screen(written: str, columns: int) -> list[str]:
    """Return the lines that are seen, also those that have been scrolled up, without the empty ones at the end."""
    lines, row, column = [""], 0, 0
    for part in PART.finditer(written):
        text, final, number = part["text"], part["final"], part["number"]
        if text == "\r":
            column = 0
        elif text == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif text:
            if column == columns:
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + 1 :]
            column += 1
        elif final == "A":
            row = max(0, row - int(number or 1))
        elif final == "K":
            lines[row] = "" if number == "2" else lines[row][:column]
        else:
            assert final in "mhl", f"this screen does not know {part[0]!r}"
    return [line.rstrip() for line in "\n".join(lines).rstrip().splitlines()]


def screens(written: str, columns: int) -> list[list[str]]:
    """Return what was seen after each redrawing, which begins with a return to the first column."""
    ends = [part.start() for part in re.finditer(r"\r", written)]
    return [screen(written[:end], columns) for end in [*ends, len(written)]]
