"""``python -m mldeploy.demo [--once] [--verbose]``, with the settings from the environment."""

import sys

import msgspec

from mldeploy.closed_pipe import ends_with_its_reader
from mldeploy.demo.conversation import DemoFailed
from mldeploy.demo.page import page_on_standard_output
from mldeploy.demo.service import running_service
from mldeploy.demo.story import FLOWER, run_story
from modeler.artifact import open_artifact_store
from models.signing import signing_key
from settings import Settings, load

TRY = """
The service runs at {url} until Ctrl-C. Try:

  open {url}/docs in a browser
  curl {url}/models/iris
  curl {url}/predict -H 'Content-Type: application/json' -H 'Prefer: wait=5' \\
    -d '{flower}'
  curl {url}/train -H 'Content-Type: application/json' \\
    -d '{{"estimator": "RandomForestClassifier"}}'
"""


def main() -> None:
    try:
        with ends_with_its_reader():
            demo(load(), "--once" in sys.argv[1:], "--verbose" in sys.argv[1:])
    except DemoFailed as error:
        sys.exit(f"the demo failed: {error}")


def demo(settings: Settings, once: bool, verbose: bool) -> None:
    """Raises DemoFailed. With ``once`` it ends after the last step, otherwise on Ctrl-C."""
    page = page_on_standard_output(verbose)
    with running_service(settings, page) as service:
        key = signing_key(settings.home_path, settings.signing_key)
        run_story(service.url, lambda: open_artifact_store(settings.store_location, key), page, settings.api_key)
        if not once:
            page.verbatim(TRY.format(url=service.url, flower=msgspec.json.encode(FLOWER).decode()))
            service.follow()


if __name__ == "__main__":
    main()
