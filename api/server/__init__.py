"""HTTP/1.1 for the API: connections, their bounds and time-outs, requests and responses as bytes."""
