"""The handlers execute the jobs that a worker has claimed."""
