"""All commands: the client's, and those that run on the server (`mldeploy up|demo|keys`)."""

from mldeploy.admin.keys import keys
from mldeploy.cli import main
from mldeploy.local.commands import demo, up

__all__ = ["main"]

main.help = """A scikit-learn model behind a job queue.

Start with `mldeploy demo`, or `mldeploy up` and then `mldeploy predict '{"sepal_length": 5.0, …}'`."""

for command in (up, demo, keys):
    main.add_command(command)
