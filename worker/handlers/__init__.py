"""What workers do with the jobs that they have claimed."""
