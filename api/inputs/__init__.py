"""The forms in which measurements and tables come."""
