"""Columns of CSV files as people have them, and the reading expected of each.

A case is: what it is, the cells, the type, how many are missing, the first values as they are read, and a part of the doubt that
is told ("" for none). Numbers are numbers, dates seconds since 1970, texts texts; None is a gap.
"""

from typing import Any, NamedTuple


class Case(NamedTuple):
    what: str
    cells: list[str]
    type: str
    missing: int
    values: list[Any]
    doubt: str


def days(*more: str) -> list[str]:
    """Return 28 ISO dates and these cells."""
    return [f"2026-01-{day:02}" for day in range(1, 29)] + list(more)


def numbers(*more: str, of: int = 40) -> list[str]:
    """Return different numbers and these cells."""
    return [str(number / 2) for number in range(of)] + list(more)


JANUARY = 1767225600.0  # 2026-01-01
OCTOBER = 1697932800.0  # 2023-10-22
DAY = 86400.0

CASES = [
    Case("plain numbers", ["1.5", "2", "-3e2"], "number", 0, [1.5, 2.0, -300.0], ""),
    Case("integers", ["1", "2", "-3"], "integer", 0, [1.0, 2.0, -3.0], ""),
    Case("integers that pandas wrote beside a gap", ["1.0", "", "3.0"], "integer", 1, [1.0, None, 3.0], ""),
    Case("numbers with spaces around", [" 1", "2 ", " 3.5 "], "number", 0, [1.0, 2.0, 3.5], ""),
    Case("American thousands", ["1,234.56", "12", "3,000"], "number", 0, [1234.56, 12.0, 3000.0], "',' divides thousands"),
    Case("American millions", ["1,234,567", "12", "3"], "number", 0, [1234567.0, 12.0, 3.0], "',' divides thousands"),
    Case("thousands or a decimal comma", ["1,234", "2,500", "3,125"], "number", 0, [1234.0, 2500.0, 3125.0], "say decimal=','"),
    Case("decimal commas", ["20,5", "3", "0,123"], "number", 0, [20.5, 3.0, 0.123], "',' is its decimal mark"),
    Case("German thousands", ["1.234.567,5", "12", "3"], "number", 0, [1234567.5, 12.0, 3.0], "'.' divides thousands"),
    Case("French thousands", ["1 234,5", "12", "3"], "number", 0, [1234.5, 12.0, 3.0], "' ' divides thousands"),
    Case("thin spaces", ["1\u202f234", "12", "3"], "number", 0, [1234.0, 12.0, 3.0], "divides thousands"),
    Case("Swiss thousands", ["1'234.5", "12", "3"], "number", 0, [1234.5, 12.0, 3.0], "divides thousands"),
    Case("three decimals that may be thousands", ["1.500", "2.250", "3.125"], "number", 0, [1.5, 2.25, 3.125], "thousands='.'"),
    Case("dollars", ["$12", "$1,200.50", "$3"], "number", 0, [12.0, 1200.5, 3.0], "$ is left out"),
    Case("euros behind", ["12 €", "3,50 €", "4 €"], "number", 0, [12.0, 3.5, 4.0], "€ is left out"),
    Case("two currencies", ["$12", "12 €", "$3"], "category", 0, ["$12", "12 €", "$3"], "different units"),
    Case("percents", ["5 %", "12.5%", "7 %"], "number", 0, [5.0, 12.5, 7.0], "% is left out"),
    Case("percents and shares", ["5 %", "0.05", "7 %"], "category", 0, ["5 %", "0.05", "7 %"], "different units"),
    Case("an accountant's minus", ["(300)", "20", "(1,000)"], "number", 0, [-300.0, 20.0, -1000.0], "say decimal"),
    Case("powers of ten", ["1e5", "2E-3", "3"], "number", 0, [1e5, 2e-3, 3.0], ""),
    Case("zip codes", ["02138", "10001", "94103"], "category", 0, ["02138", "10001", "94103"], "begins with 0"),
    Case("telephone numbers", ["0170 123", "0171 456", "030 789"], "category", 0, ["0170 123", "0171 456", "030 789"], ""),
    Case("numbers below one", ["0.5", "0.25", "0"], "number", 0, [0.5, 0.25, 0.0], ""),
    Case(
        "ids of 19 digits", ["1234567890123456781", "1234567890123456782", "7"], "category", 0, ["1234567890123456781"], "exact"
    ),
    Case("one #DIV/0! among numbers", numbers("#DIV/0!"), "number", 1, [0.0, 0.5], "'#DIV/0!'"),
    Case("dashes for gaps", ["1.5", "-", "2.5", "-", "3.5", "4"], "number", 2, [1.5, None, 2.5], "'-'"),
    Case("question marks for gaps", ["1", "?", "3", "4"], "integer", 1, [1.0, None, 3.0, 4.0], "'?'"),
    Case("one typing error among many numbers", numbers("12x"), "number", 1, [0.0, 0.5], "'12x'"),
    Case("a word beside two codes", ["0", "1"] * 30 + ["rare"], "category", 0, ["0", "1"], "'rare' is not"),
    Case("half of it numbers", ["1", "2", "a", "b"], "category", 0, ["1", "2", "a", "b"], "is taken as text"),
    Case("missing words of pandas", ["1", "NA", "null", "N/A"], "integer", 3, [1.0, None, None, None], ""),
    Case("nothing at all", ["", "", ""], "number", 3, [None, None, None], ""),
    Case("infinite is a word", ["x", "inf", "y"], "category", 0, ["x", "inf", "y"], ""),
    Case("one constant", ["5", "5", "5"], "integer", 0, [5.0, 5.0, 5.0], ""),
    Case("true and false", ["true", "False", "TRUE"], "boolean", 0, [1.0, 0.0, 1.0], ""),
    Case("booleans with gaps", ["true", "", "false"], "boolean", 1, [1.0, None, 0.0], ""),
    Case("yes and no", ["yes", "no", "yes"], "category", 0, ["yes", "no", "yes"], ""),
    Case("Y and N", ["Y", "N", "Y"], "category", 0, ["Y", "N", "Y"], ""),
    Case("noughts and ones", ["0", "1", "1"], "integer", 0, [0.0, 1.0, 1.0], ""),
    Case("colours", ["red", "blue", "red"], "category", 0, ["red", "blue", "red"], ""),
    Case("texts that differ in spaces", ["red", "red ", "blue"], "category", 0, ["red", "red ", "blue"], "differ in spaces"),
    Case("emoji", ["😀", "😡", "😀"], "category", 0, ["😀", "😡", "😀"], ""),
    Case("clock times", ["12:30", "13:45", "08:00"], "category", 0, ["12:30", "13:45", "08:00"], ""),
    Case("version numbers", ["1.10.2", "1.9.0", "2.0.1"], "category", 0, ["1.10.2", "1.9.0", "2.0.1"], ""),
    Case("ranges", ["10-20", "20-30", "30-40"], "category", 0, ["10-20", "20-30", "30-40"], ""),
    Case("years", ["1999", "2005", "2024"], "integer", 0, [1999.0, 2005.0, 2024.0], ""),
    Case("seconds since 1970", ["1700000000", "1700003600", "1700007200"], "integer", 0, [1.7e9], "may be moments, in seconds"),
    Case("milliseconds since 1970", ["1700000000000", "1700003600000", "1"], "integer", 0, [1.7e12], ""),
    Case("ISO dates", ["2026-01-01", "2026-01-02"], "date", 0, [JANUARY, JANUARY + DAY], ""),
    Case("ISO moments", ["2026-01-01T00:00:10Z", "2026-01-01 00:00:20"], "date", 0, [JANUARY + 10, JANUARY + 20], ""),
    Case("PostgreSQL's moments", ["2023-10-22 00:00:00+00", "2023-10-22 02:00:00+02"], "date", 0, [OCTOBER, OCTOBER], ""),
    Case(
        "moments with UTC behind", ["2023-10-22 00:00:00 UTC", "2023-10-22 00:00:01 UTC"], "date", 0, [OCTOBER, OCTOBER + 1], ""
    ),
    Case("one 0000-00-00 among dates", days("0000-00-00"), "date", 1, [JANUARY], "0000-00-00"),
    Case("one day that was not", days("2024-02-30"), "date", 1, [JANUARY], "2024-02-30"),
    Case("one unknown date", days("unknown"), "date", 1, [JANUARY], "unknown"),
    Case("an end that never comes", days("9999-12-31"), "date", 1, [JANUARY], "9999-12-31"),
    Case("German dates", ["22.10.2023", "23.10.2023"], "date", 0, [OCTOBER, OCTOBER + DAY], "the day comes before the month"),
    Case("American moments", ["10/22/2023 3:00 PM", "1/2/2024 12:00 AM"], "date", 0, [OCTOBER + 15 * 3600], "month comes before"),
    Case("days before months, with slashes", ["22/10/2023", "1/2/2024"], "date", 0, [OCTOBER], "the day comes before the month"),
    Case("day and month unclear", ["1/2/2026", "3/4/2026"], "category", 0, ["1/2/2026", "3/4/2026"], "say dayfirst"),
    Case("days and months mixed up", ["22/10/2023", "10/22/2023"], "category", 0, ["22/10/2023"], "of both orders"),
    Case("dates of two digits", ["22.10.23", "23.10.23"], "date", 0, [OCTOBER, OCTOBER + DAY], "two digits"),
    Case("months by name", ["22-Oct-2023", "23-Oct-2023"], "date", 0, [OCTOBER, OCTOBER + DAY], ""),
    Case("months by name in front", ["Oct 22, 2023", "Oct 23, 2023"], "date", 0, [OCTOBER, OCTOBER + DAY], ""),
    Case("slashes in ISO's order", ["2023/10/22", "2023/10/23"], "date", 0, [OCTOBER, OCTOBER + DAY], ""),
]
