"""Redis's disk is nearly full and Redis refuses to rewrite its file."""

from pathlib import Path

from redis.exceptions import NoPermissionError

from jobs.disk import DiskWatch
from jobs.ledger import Ledger


def test_refused_rewrite_still_reports_the_short_disk(ledger: Ledger, tmp_path: Path) -> None:
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
