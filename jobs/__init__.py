"""What a job is and where it waits: the record, the ledger, wakeups of workers, pushes to waiting clients, the reconciler."""
