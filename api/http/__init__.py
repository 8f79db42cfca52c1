"""The steps of every request: routing, authentication, reading the body, the response, and problems."""
