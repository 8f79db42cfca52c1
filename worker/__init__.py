"""The Celery worker: it receives wakeups, claims jobs from the ledger, predicts or trains, and finishes the jobs."""
