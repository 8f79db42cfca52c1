import pytest

from auth.keys import SCOPES, BadKey, Key, KeySet, check_name, check_scopes, parse_rate
from auth.rates import Verdict, headers
from mldeploy.admin.keys import COLUMNS, make_row
from mldeploy.cli.table import table_lines

SECRET = "s" * 43
HASH = "d64b93c9f1b60eb338e5cb415d6a36bd920edd0e9b36f7ea5c730d0e10ff147f"  # sha256 of SECRET
ALICE = Key("0123456789", "alice", ("predict", "train"), "100/60", HASH, "2026-01-01T00:00:00.000Z")
TOKEN = f"mld_{ALICE.id}_{SECRET}"


def test_a_token_finds_its_key() -> None:
    assert KeySet([ALICE]).find(TOKEN) == ALICE


@pytest.mark.parametrize(
    "token",
    [
        "",
        " ",
        "mld_",
        TOKEN[:-1],
        TOKEN + "s",
        TOKEN + "\n",
        " " + TOKEN,
        TOKEN[:-1] + "t",
        TOKEN.replace("mld", "MLD"),
        TOKEN.replace("0123456789", "0123456780"),
        TOKEN.replace("0123456789", "012345678x"),
        TOKEN.replace("0123456789", "٠١٢٣٤٥٦٧٨٩"),
        TOKEN.replace("s", "ſ"),
        TOKEN.replace("_s", "\x00s"),
        "mld__" + SECRET,
        "mld_" * 1_000_000,
        "\ud800" * 58,
        "мld_" + TOKEN[4:],
    ],
)
def test_any_other_token_finds_nothing(token: str) -> None:
    key_set = KeySet([ALICE])
    assert key_set.find(token) is None
    assert key_set.find(TOKEN) == key_set.find(TOKEN) == ALICE
    assert key_set.find(token) is None


def test_an_unknown_id_finds_nothing_whatever_its_secret() -> None:
    """Nor does the dummy hash that keeps the time equal."""
    for secret in (SECRET, "0" * 43):
        assert KeySet().find(f"mld_0123456789_{secret}") is None


def test_a_revoked_key_opens_nothing_and_keeps_the_service_closed() -> None:
    key_set = KeySet([Key("0123456789", "alice", ("admin",), "", HASH, "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z")])
    assert key_set.find(TOKEN) is None
    assert key_set.closed
    assert not KeySet().closed


def test_admin_has_all_scopes_and_others_their_own() -> None:
    assert [ALICE.may(scope) for scope in SCOPES] == [True, True, False]
    admin = Key("0123456789", "root", ("admin",), "", HASH, "")
    assert all(admin.may(scope) for scope in SCOPES)


def test_a_hash_is_never_shown() -> None:
    assert HASH not in f"{ALICE} {ALICE!r} {[ALICE]} {ALICE.shown()}"
    assert ALICE.shown()["name"] == "alice"


@pytest.mark.parametrize("name", ["a", "x" * 64, "Åsa's laptop"])
def test_names_that_can_be(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 65, "two\nlines", "bell\x07", " led", "trailed ", "\u202eabc"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(BadKey, match="1 to 64 printable"):
        check_name(name)


def test_scopes_come_once_and_in_order() -> None:
    assert check_scopes(["admin", "predict", "admin"]) == ("predict", "admin")


@pytest.mark.parametrize("scopes", [[], [""], ["predict", ""], ["Predict"], ["predict", "root"]])
def test_scopes_that_there_are_not(scopes: list[str]) -> None:
    with pytest.raises(BadKey, match="predict, train, admin"):
        check_scopes(scopes)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/s", "100/1"),
        ("100/m", "100/60"),
        ("100/h", "100/3600"),
        ("100/30s", "100/30"),
        ("0100/5m", "100/300"),
        ("1000000/24h", "1000000/86400"),
    ],
)
def test_rates_are_requests_in_seconds(text: str, rate: str) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    [
        "100",
        "100/",
        "100/60",
        "0/s",
        "1/0s",
        "-1/s",
        "1.5/s",
        "1000001/s",
        "1/25h",
        "1/86401s",
        "1/d",
        "٣/s",
        "1/s\n",
        "9" * 9999,
    ],
)
def test_rates_out_of_bounds(text: str) -> None:
    with pytest.raises(BadKey, match="100/30s"):
        parse_rate(text)


def test_headers_follow_the_draft() -> None:
    assert headers(Verdict(allowed=True, quota=100, window=60, remaining=50, reset=30, retry_after=0)) == [
        ("RateLimit-Policy", '"default";q=100;w=60'),
        ("RateLimit", '"default";r=50;t=30'),
    ]


def test_the_table_has_a_column_for_all_that_is_shown() -> None:
    head, line = table_lines(COLUMNS, [make_row(ALICE.shown())], 120)
    assert head.split() == ["ID", "NAME", "SCOPES", "RATE", "CREATED", "REVOKED"]
    assert line.split() == [ALICE.id, "alice", "predict,train", "100/60", ALICE.created_at, "-"]
    assert line.index("alice") == head.index("NAME")
