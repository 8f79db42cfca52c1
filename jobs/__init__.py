"""What a job is and where it waits: the record, the ledger, the bell, the push that wakes waiters, the reconciler."""
