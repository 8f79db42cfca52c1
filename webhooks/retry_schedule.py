"""The delays before each attempt of a delivery, about three days in total, as Standard Webhooks recommends."""

DELAYS = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)  # seconds


def next_delay(attempts_made: int) -> float | None:
    """Seconds until the next attempt; None after the last."""
    return DELAYS[attempts_made] if attempts_made < len(DELAYS) else None
