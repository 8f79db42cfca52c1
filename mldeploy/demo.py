"""`mldeploy demo`: the main job, end to end, every request shown as it goes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import requests

import tether
from mldeploy.closed_pipe import ends_with_its_reader
from models import artifact, dataset, table
from models.artifact import Shelf, open_shelf
from models.card import Card
from models.packaged import packaged_csv
from models.signing import signing_key
from settings import Settings, load

FLOWER = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}
SHOWN = 900  # characters of a long answer
PATIENCE = 60  # seconds for a job
READY = "is ready at "  # in the line that `mldeploy up` says then …
NOT_READY = "is up at "  # … or if something is amiss

TRY = """
The service runs at {url} until Ctrl-C. Try:

  open {url}/docs in a browser
  curl {url}/models/iris
  curl {url}/predict -H 'Content-Type: application/json' -H 'Prefer: wait=5' -d '{flower}'
  curl {url}/train -H 'Content-Type: application/json' -d '{{"estimator": "RandomForestClassifier"}}'
"""


def main() -> None:
    """``python -m mldeploy.demo [--once]``, with the settings from the environment."""

    def say(text: str) -> None:
        print(text, flush=True)

    try:
        with ends_with_its_reader():
            demo(load(), "--once" in sys.argv[1:], say)
    except DemoFailed as error:
        sys.exit(f"the demo failed: {error}")


class DemoFailed(RuntimeError):
    """A step of the demo did not go as it should."""


def demo(settings: Settings, once: bool, say: Callable[[str], None]) -> None:
    """Raises DemoFailed. With ``once`` it ends after the last step, otherwise on Ctrl-C."""
    with _service(settings, say) as (url, process):
        key = signing_key(settings.home_path, settings.signing_key)
        walk(url, lambda: open_shelf(settings.store_location, key), say, settings.api_key)
        if once:
            return
        say(TRY.format(url=url, flower=msgspec.json.encode(FLOWER).decode()))
        assert process.stdout is not None
        for line in process.stdout:
            say(line.rstrip())


def walk(url: str, shelf: Callable[[], Shelf], say: Callable[[str], None], api_key: str = "") -> None:
    """``shelf`` gives where the models are kept; ``api_key`` is of the scopes predict and train.

    Train, predict one, predict 150, check them against the stored model, retrain. Raises DemoFailed."""
    talk = Talk(url, say, api_key)
    talk.job("train iris on its 150 flowers", "POST", "/train", {})
    one = talk.job("predict one flower", "POST", "/predict", FLOWER)
    if one["result"]["prediction"] != "setosa":
        raise DemoFailed(f"expected setosa, got {one['result']}")
    flowers = _flowers()
    batch = talk.job("predict all 150 flowers", "POST", "/predict", flowers)
    predictions = [each["prediction"] for each in batch["result"]["predictions"]]
    say(f"   {_compare(talk, batch['model'], predictions, flowers, shelf())}\n")
    again = talk.job("train again: the gate lets no worse version serve", "POST", "/train", {})["result"]
    say(f"   version {again['model']['version']} {'serves' if again['promoted'] else 'does not serve'}: {again['reason']}\n")
    talk.step("what there is now", "GET", "/models", None)


class Talk:
    """Sends requests and shows them with their answers."""

    def __init__(self, url: str, say: Callable[[str], None], api_key: str) -> None:
        self._url = url
        self._say = say
        self._session = requests.Session()
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"

    def job(self, title: str, method: str, path: str, body: Any) -> dict[str, Any]:
        """Submit and read the result when it is final."""
        submitted = self.step(title, method, path, body)
        answer = self._request("GET", submitted["result_url"] + f"?wait={PATIENCE}", None)
        if answer["status"] != "succeeded":
            raise DemoFailed(f"{title}: the job is {answer['status']}")
        return answer

    def step(self, title: str, method: str, path: str, body: Any) -> dict[str, Any]:
        self._say(f"── {title}")
        return self._request(method, path, body)

    def _request(self, method: str, path: str, body: Any) -> dict[str, Any]:
        self._say(f"{method} {path}" + (f"  {_short(body)}" if body is not None else ""))
        answer = self._session.request(method, self._url + path, json=body, timeout=PATIENCE + 10)
        self._say(f"→ {answer.status_code} {_short(answer.json())}\n")
        if answer.status_code >= 400:
            raise DemoFailed(f"{method} {path} answered {answer.status_code}")
        found: dict[str, Any] = answer.json()
        return found


def _compare(talk: Talk, model: dict[str, Any], predictions: list[Any], flowers: list[dict[str, float]], shelf: Shelf) -> str:
    """Against the very file in the store, loaded and asked here."""
    cards = [
        msgspec.convert(card, Card) for card in talk.step("the model's card", "GET", f"/models/{model['name']}", None)["versions"]
    ]
    card = next(card for card in cards if card.version == model["version"])
    stored = artifact.load(shelf, card)
    direct = stored.predict([[flower[name] for name in card.schema.names] for flower in flowers]).tolist()
    same = sum(ours == theirs for ours, theirs in zip(predictions, direct, strict=True))
    if same != len(flowers):
        raise DemoFailed(f"only {same} of {len(flowers)} predictions equal those of the stored model")
    return f"{same} of {len(flowers)} predictions equal those of the stored model asked directly ({card.artifact.folder})"


def _flowers() -> list[dict[str, float]]:
    iris = dataset.make(table.read(packaged_csv("iris") or b"", "csv"), "species")
    return [dict(zip(iris.schema.names, row, strict=True)) for row in iris.features.tolist()]


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} … ({len(text)} characters)"


@contextmanager
def _service(settings: Settings, say: Callable[[str], None]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`mldeploy up` as a process of its own, until the block ends."""
    command = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), sys.executable, "-P", "-m", "mldeploy", "up"]
    process = subprocess.Popen(command, env=settings.environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            say(line)
            if READY in line:
                break
            if NOT_READY in line:
                raise DemoFailed("the service is not ready: the lines above say why")
        else:
            raise DemoFailed("the service did not start")
        yield line.partition(READY)[2].split()[0], process
    except KeyboardInterrupt:
        say("stopping")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


if __name__ == "__main__":
    main()
