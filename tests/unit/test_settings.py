import pytest

from settings import BadSettings, Settings, load


def test_values_come_from_the_environment() -> None:
    settings = load({"MLDEPLOY_PORT": "8080", "MLDEPLOY_LEASE": "7.5", "HOME": "/elsewhere"})
    assert (settings.port, settings.lease) == (8080, 7.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "70000"),
        ("PORT", "http"),
        ("LEASE", "0"),
        ("PREDICT_WORKERS", "0"),
        ("APPENDFSYNC", "no"),
        ("MAX_BODY", "-1"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=f"MLDEPLOY_{name}"):
        load({f"MLDEPLOY_{name}": value})


def test_a_misspelled_setting_is_refused() -> None:
    with pytest.raises(BadSettings, match="MLDEPLOY_PROT"):
        load({"MLDEPLOY_PROT": "5000"})


def test_children_read_the_very_same_settings() -> None:
    settings = Settings().replace(port=8081, lease=2.5, home="/somewhere")
    assert load(settings.environment()) == settings


def test_the_broker_is_the_ledgers_redis_unless_another_is_set() -> None:
    assert Settings(redis_url="unix:///r.sock").broker == "redis+socket:///r.sock"
    assert Settings(redis_url="redis://r:6379").broker == "redis://r:6379"
    assert Settings(redis_url="redis://r:6379", broker_url="amqp://b").broker == "amqp://b"


@pytest.mark.parametrize(("old", "new"), [("BELL", "WAKEUP_TIMEOUT"), ("LINGER", "WORKER_IDLE_TIMEOUT")])
def test_a_renamed_setting_is_refused_with_its_new_name(old: str, new: str) -> None:
    with pytest.raises(BadSettings, match=f"MLDEPLOY_{old} is MLDEPLOY_{new} now"):
        load({f"MLDEPLOY_{old}": "1"})
