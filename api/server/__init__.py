"""The HTTP/1.1 server of the API: connections, limits and time-outs, parsing requests and encoding responses."""
