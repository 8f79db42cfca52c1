"""The formats in which requests send measurements and tables."""
