"""Authentication and rate limits: API keys, which are created on the server, and how often they may be used."""
