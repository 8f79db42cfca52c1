"""The HTTP client: it submits jobs, waits for them and reads results. It imports nothing else of mldeploy."""

from mldeploy.client.client import Client
from mldeploy.client.events import Event
from mldeploy.client.job import Job, JobFailed
from mldeploy.client.problems import Problem, ServiceAway, Unavailable

__all__ = ["Client", "Event", "Job", "JobFailed", "Problem", "ServiceAway", "Unavailable"]
