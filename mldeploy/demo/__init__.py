"""`mldeploy demo`: starts the service, uses it, and shows requests and responses."""
