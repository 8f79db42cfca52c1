"""``python -m worker predict|train``: run a worker of one kind."""

import argparse
import sys

from jobs.errors import UnsafeRedis
from jobs.job import Kind
from models.signing import NoKey
from models.store import BadStore
from settings import load
from worker.handlers.roles import role_of
from worker.run import run_worker


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("kind", choices=[Kind.PREDICT, Kind.TRAIN])
    settings, kind = load(), Kind(parser.parse_args().kind)
    processes = settings.train_workers if kind is Kind.TRAIN else settings.predict_workers
    try:
        sys.exit(run_worker(settings, kind, processes, lambda: role_of(kind, settings)))
    except (UnsafeRedis, NoKey, BadStore) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
