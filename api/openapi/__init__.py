"""The OpenAPI 3.1 document of the service, generated from the types that validate requests and encode responses."""
