"""The Flask application: the routes, each an async view of its blueprint, and what an operator adds."""

import importlib

from api.application import Application
from api.protocols import infer, mlflow, open_inference
from api.routes import aliases, datasets, docs, health, job, jobs, models, predict, train, webhook_secret
from settings import BadSettings, Settings, load

FEATURES = (predict, train, job, jobs, models, aliases, datasets, webhook_secret, open_inference, infer, mlflow, health)


def create_app(settings: Settings | None = None) -> Application:
    """``settings``: those of the environment, unless others are given. Connects to nothing before the first request. Raises
    BadSettings."""
    app = Application((settings or load()).with_embedded_redis())
    for feature in FEATURES:
        app.register_blueprint(feature.blueprint)
    app.register_blueprint(docs.make_blueprint(app))
    return _as_the_operator_has_it(app)


def _as_the_operator_has_it(app: Application) -> Application:
    """MLDEPLOY_APP: hooks, extensions and routes of the operator's own."""
    if not app.settings.app:
        return app
    module, _, factory = app.settings.app.partition(":")
    try:
        found: object = getattr(importlib.import_module(module), factory)(app)
    except (ImportError, AttributeError) as error:
        raise BadSettings(f"MLDEPLOY_APP={app.settings.app}: {error}") from error
    if found is not app:
        raise BadSettings(f"MLDEPLOY_APP={app.settings.app} has to return the application that it is given, not {found!r}")
    return app
