"""A disk of Redis that is short, and a Redis that does not rewrite its file for it."""

from pathlib import Path

from redis.exceptions import NoPermissionError

from jobs.disk import DiskWatch
from jobs.ledger import Ledger


def test_a_rewrite_that_redis_refuses_is_no_reason_not_to_say_that_the_disk_is_short(ledger: Ledger, tmp_path: Path) -> None:
    client = ledger.redis
    client.set(f"{ledger.prefix}anything", 1)  # so that there is a file to rewrite
    settings = ledger.settings.replace(redis_data=str(tmp_path), disk_reserve=10**12)
    client.acl_setuser("default", enabled=True, commands=["-bgrewriteaof"])
    try:
        assert "the disk of Redis has" in DiskWatch(settings, ledger).shortage(0)
        assert refuses_to_rewrite(ledger)
    finally:
        client.acl_setuser("default", enabled=True, commands=["+bgrewriteaof"])


def refuses_to_rewrite(ledger: Ledger) -> bool:
    try:
        ledger.redis.bgrewriteaof()
    except NoPermissionError:
        return True
    return False
