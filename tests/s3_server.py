"""An in-memory S3 server as a process."""

import contextlib
import sys
from pathlib import Path

import requests

from settings import Settings
from tests.processes import Running, free_port, until


class S3Server:
    """moto's server on 127.0.0.1. Must be started in the main thread, to which it is tied."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self.running = Running(command, Settings(), folder, "s3")
        try:
            until(self._answers, 60, "the S3 server answers")
        except BaseException:
            self.stop()
            raise

    def environment(self) -> dict[str, str]:
        """Return the variables that lead botocore here and hide the settings of the user."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def make_bucket(self, name: str) -> None:
        requests.put(f"{self.url}/{name}", timeout=10).raise_for_status()

    def stop(self) -> None:
        self.running.kill()

    def _answers(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(self.url, timeout=1).ok
        return False
