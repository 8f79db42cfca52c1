"""``python -m worker.webhooks``: run a worker that delivers webhooks. It imports little: it needs no model."""

import argparse
import sys

from jobs.errors import UnsafeRedis
from jobs.job import Kind
from jobs.ledger import Ledger
from jobs.wakeup import WakeupSender
from settings import BadSettings, Settings, load
from webhooks.networks import parse_networks
from webhooks.signing_secrets import Secrets
from worker.handlers.webhook import WebhookHandler
from worker.process import retry_until_available
from worker.run import run_worker


class WebhookRole:
    def __init__(self, settings: Settings) -> None:
        """Raises BadSettings."""
        try:
            self._networks = parse_networks(settings.webhook_networks)
        except ValueError as error:
            raise BadSettings(f"MLDEPLOY_WEBHOOK_NETWORKS: {error}") from None

    def prepare(self) -> None:
        """Webhooks need no preparation."""

    def handler(self, owner: str, ledger: Ledger, wakeup_sender: WakeupSender) -> WebhookHandler:  # noqa: ARG002 - of the protocol
        secrets = Secrets(ledger.redis, ledger.prefix, lambda call: retry_until_available(lambda: ledger.guard(call)))
        return WebhookHandler(owner, ledger, secrets, self._networks)


def main() -> None:
    argparse.ArgumentParser(prog="python -m worker.webhooks", description=__doc__).parse_args()
    settings = load()
    try:
        sys.exit(run_worker(settings, Kind.WEBHOOK, settings.webhook_workers, lambda: WebhookRole(settings)))
    except (UnsafeRedis, BadSettings) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
