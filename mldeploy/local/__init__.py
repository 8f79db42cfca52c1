"""One machine: an embedded Redis, and the same API, workers and reconciler as on many, started and kept alive."""
