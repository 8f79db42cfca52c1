"""``python -m worker.health predict|train|webhook``: check this host's workers. It imports little: it runs every few seconds."""

import argparse
import socket
import sys

from jobs.errors import LedgerError
from jobs.job import WORKERS, Kind
from jobs.ledger import Ledger
from settings import load

MAX_STALLS = 3  # a worker that has stalled restarts itself after one stall time


def is_well(ledger: Ledger, kind: Kind) -> bool:
    """Whether this host has a worker with a live lease and no work has waited too long: that shows progress, not existence."""
    owners = [owner for owner in ledger.live_owners(kind) if owner.startswith(socket.gethostname() + "-")]
    return bool(owners) and ledger.observe().starved[kind] < MAX_STALLS * ledger.settings.stall


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker.health", description=__doc__)
    parser.add_argument("kind", choices=list(WORKERS))
    kind = Kind(parser.parse_args().kind)
    try:
        sys.exit(0 if is_well(Ledger(load()), kind) else f"no live {kind} worker on this host, or work waits too long")
    except LedgerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
