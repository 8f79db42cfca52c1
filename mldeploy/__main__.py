"""``python -m mldeploy``: the command line, with the server's commands unless the client is installed alone."""

from importlib import import_module
from importlib.util import find_spec

import_module("mldeploy.local.main" if find_spec("mldeploy.local") else "mldeploy.cli").main(prog_name="mldeploy")
