"""OpenAPI 3.1 of the service, made of the definitions that check requests and write answers."""
