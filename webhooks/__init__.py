"""How a job's end is told to another service, by Standard Webhooks 1.0: where to, over which address, signed how, how often."""
