"""The key that signs published versions: from the settings, or from a file in the home folder that is made once."""

import hashlib
import hmac
import logging
import os
import secrets
from pathlib import Path

KEY_FILE = "signing.key"

log = logging.getLogger("mldeploy.models")


class NoKey(RuntimeError):
    """There is no signing key, and none can be made; the message says what to do."""


def signing_key(home: Path, configured: str) -> bytes:
    """Return ``configured``, or the key in the home folder, which is made if it does not exist. Raises NoKey."""
    if configured:
        return configured.encode()
    file = home / KEY_FILE
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_once(file)
        return file.read_bytes().strip()
    except OSError as error:
        raise NoKey(f"cannot read or make {file} ({error.strerror}): set MLDEPLOY_SIGNING_KEY to a long random word") from None


def sign(key: bytes, content: bytes) -> str:
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def is_signed(key: bytes, content: bytes, signature: str) -> bool:
    return hmac.compare_digest(sign(key, content), signature)


def _make_once(file: Path) -> None:
    """Make the key file atomically: write a temporary file and link it, which fails if another process was faster."""
    if file.exists():
        return
    temporary = file.with_name(f"{KEY_FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_hex(32) + "\n")
            out.flush()
            os.fsync(out.fileno())
        os.link(temporary, file)
        log.info("made a new %s: versions that another key has signed cannot be loaded with it", file)
    except FileExistsError:
        pass  # another process was faster
    finally:
        temporary.unlink()
