"""`mldeploy demo`: starts the service, uses it, and shows what was asked and what came back."""
