"""The Celery worker: it answers knocks, claims jobs from the ledger, predicts or trains, and finishes them."""
