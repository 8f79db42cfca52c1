"""The routes of the service's own API, a file for each resource."""
