"""docker-compose.yml: who has which secret and which volume, and that nothing takes more of the machine than it may."""

import re
from typing import Any

import pytest
import yaml

from settings import Settings
from tests.processes import ROOT

SIGNERS = {"predict", "train"}  # they verify and unpickle models, or sign them
UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def size(text: str) -> int:
    """Return the bytes of `2gb` or of the default of `${NAME:-2gb}`."""
    number, unit = re.fullmatch(r"(?:\$\{\w+:-)?(\d+)([kmg]b)\}?", text).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def test_only_services_that_sign_or_verify_models_have_the_signing_key() -> None:
    with_key = {name for name, service in SERVICES.items() if "SIGNING_KEY" in str(service)}
    assert with_key == SIGNERS
    assert {name for name in SIGNERS if "MLDEPLOY_SIGNING_KEY" in SERVICES[name]["environment"]} == SIGNERS


def test_only_trainers_write_models_and_only_redis_writes_the_ledger() -> None:
    mounted = {name: service.get("volumes", []) for name, service in SERVICES.items()}
    assert {name: volumes for name, volumes in mounted.items() if volumes} == {
        "redis": ["redis:/data"],
        "predict": ["models:/models:ro"],
        "train": ["models:/models"],
        "reconciler": ["redis:/redis:ro"],
    }


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_limit_of_memory_and_of_processes(name: str) -> None:
    assert size(SERVICES[name]["mem_limit"]) >= 256 << 20
    assert 0 < SERVICES[name]["pids_limit"] <= 2048


def test_redis_has_twice_its_maxmemory_and_the_workers_room_for_the_models_that_they_keep() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    (maxmemory,) = re.findall(r"\$\{REDIS_MAXMEMORY:-\w+\}", command)
    assert size(SERVICES["redis"]["mem_limit"]) >= 2 * size(maxmemory)
    settings = Settings()
    assert size(SERVICES["predict"]["mem_limit"]) >= (settings.predict_workers + 1) * settings.loaded_bytes


def test_the_reconciler_sees_the_disk_that_redis_writes_to() -> None:
    environment = SERVICES["reconciler"]["environment"]
    assert environment["MLDEPLOY_REDIS_DATA"] == "/redis"
    assert "--dir /data" in " ".join(SERVICES["redis"]["command"])
