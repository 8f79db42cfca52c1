"""What the queue costs, measured side by side in one run."""
