"""Job ids: a UUIDv7 and a short keyed hash over it and its caller, as 40 hexadecimal digits.

A valid id without a record belongs to an expired job; an invalid id was never issued. So no tombstones are needed.
"""

import hashlib
import hmac
import os
import re
import time
from functools import lru_cache

STAMP_DIGITS = 12
HASH_DIGITS = 8
_FORM = re.compile(r"[0-9a-f]{40}")


def new_id(secret: bytes, caller: str = "") -> str:
    stem = _uuid7()
    return stem + _hash(secret, stem, caller)


def has_form(job_id: str) -> bool:
    return _FORM.fullmatch(job_id) is not None


def verifies(secret: bytes, job_id: str, caller: str = "") -> bool:
    if not has_form(job_id):
        return False
    stem, digest = job_id[:-HASH_DIGITS], job_id[-HASH_DIGITS:]
    return hmac.compare_digest(digest, _hash(secret, stem, caller))


def age(job_id: str) -> float:
    """Seconds since this id was created, by this machine's clock."""
    return time.time() - int(job_id[:STAMP_DIGITS], 16) / 1000


def _hash(secret: bytes, stem: str, caller: str) -> str:
    digest = _keyed(secret).copy()
    digest.update(f"{stem} {caller}".encode())
    return digest.hexdigest()


@lru_cache(4)
def _keyed(secret: bytes) -> "hashlib.blake2b":
    """Cached, because the key setup takes half of the time."""
    return hashlib.blake2b(key=secret, digest_size=HASH_DIGITS // 2)


def _uuid7() -> str:
    """RFC 9562: 48 bits of milliseconds, then version, variant and 74 random bits."""
    bits = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | 0x7 << 76
    bits = bits & ~(0x3 << 62) | 0x2 << 62
    return f"{bits:032x}"
