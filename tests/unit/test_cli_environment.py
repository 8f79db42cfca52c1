"""What the client's commands read of the environment."""

import pytest

from mldeploy.cli.environment import DEFAULT_URL, url_and_key
from settings import Settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.__struct_fields__:
        monkeypatch.delenv(f"MLDEPLOY_{name.upper()}", raising=False)


def test_url_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert url_and_key() == (DEFAULT_URL, "")
    monkeypatch.setenv("MLDEPLOY_URL", "http://queue:5000")
    monkeypatch.setenv("MLDEPLOY_API_KEY", "mld_1")
    assert url_and_key() == ("http://queue:5000", "mld_1")


def test_the_servers_settings_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(Settings.__struct_fields__) - {"url", "api_key"}:
        monkeypatch.setenv(f"MLDEPLOY_{name.upper()}", "1")
    assert url_and_key() == (DEFAULT_URL, "")


@pytest.mark.parametrize(("name", "meant"), [("ULR", "URL"), ("URLS", "URL"), ("APIKEY", "API_KEY"), ("API_KEYS", "API_KEY")])
def test_a_misspelled_name_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    monkeypatch.setenv(f"MLDEPLOY_{name}", "1")
    with pytest.raises(ValueError, match=f"unknown setting MLDEPLOY_{name}: did you mean MLDEPLOY_{meant}"):
        url_and_key()
