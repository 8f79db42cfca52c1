"""What people hold: the client, the command line, and the stack of one machine."""

from mldeploy.client import Client, Event, Job, JobFailed, Problem, ServiceAway, Unavailable

__all__ = ["Client", "Event", "Job", "JobFailed", "Problem", "ServiceAway", "Unavailable"]
