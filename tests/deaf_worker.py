"""``python -m tests.deaf_worker FILE``: a predict worker whose consumer takes no more messages once the file exists.

It stays connected and alive.
"""

import sys
import threading
from pathlib import Path
from typing import Any

from celery import signals

from jobs.job import Kind
from settings import load
from worker.handlers.roles import role_of
from worker.run import run_worker


def go_deaf_with(file: Path, consumer: Any) -> None:
    while not file.exists():
        threading.Event().wait(0.05)
    consumer.call_soon(consumer.cancel_task_queue, str(Kind.PREDICT))


def main() -> None:
    file, settings = Path(sys.argv[1]), load()

    def on_ready(sender: Any, **_: Any) -> None:
        threading.Thread(target=go_deaf_with, args=(file, sender), daemon=True).start()

    signals.worker_ready.connect(on_ready, weak=False)
    sys.exit(run_worker(settings, Kind.PREDICT, settings.predict_workers, lambda: role_of(Kind.PREDICT, settings)))


if __name__ == "__main__":
    main()
