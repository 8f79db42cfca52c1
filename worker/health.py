"""``python -m worker.health predict|train|webhook``: whether this host's workers are well. Light: it runs every few seconds."""

import argparse
import socket
import sys

from jobs.errors import LedgerError
from jobs.job import WORKERS, Kind
from jobs.ledger import Ledger
from settings import load

PATIENCE = 3  # stalls; a worker that has stalled restarts itself after one


def is_well(ledger: Ledger, kind: Kind) -> bool:
    """Progress, not existence: a live lease here, and no work that has waited unheard for long."""
    here = [owner for owner in ledger.live_owners(kind) if owner.startswith(socket.gethostname() + "-")]
    return bool(here) and ledger.observe().starved[kind] < PATIENCE * ledger.settings.stall


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker.health", description=__doc__)
    parser.add_argument("kind", choices=list(WORKERS))
    kind = Kind(parser.parse_args().kind)
    try:
        sys.exit(0 if is_well(Ledger(load()), kind) else f"no live {kind} worker here, or work waits unheard")
    except LedgerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
