"""The Python client, the command line, and the service on one machine."""

from mldeploy.client import Client, Event, Job, JobFailed, Problem, ServiceAway, Unavailable

__all__ = ["Client", "Event", "Job", "JobFailed", "Problem", "ServiceAway", "Unavailable"]
