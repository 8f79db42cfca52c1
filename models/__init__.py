"""What a model is: its schema, its card, which versions there are, and where their files are. Light enough for the API."""
