"""Webhooks by Standard Webhooks 1.0: URL checks, address resolution, signatures, sending, and retries."""
