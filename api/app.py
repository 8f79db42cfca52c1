"""Creates the Flask application: the blueprints with their async views, and the operator's additions."""

import importlib

from api.application import Application
from api.http.cors import Cors
from api.protocols import infer, mlflow, open_inference
from api.routes import aliases, datasets, docs, health, job, jobs, models, predict, train, webhook_secret
from settings import BadSettings, Settings, load
from struct_types import prepare_structs

MODULES = (predict, train, job, jobs, models, aliases, datasets, webhook_secret, open_inference, infer, mlflow, health)


def create_app(settings: Settings | None = None) -> Application:
    """``settings`` default to those of the environment. Opens no connection before the first request. Raises BadSettings."""
    app = Application((settings or load()).with_embedded_redis())
    Cors(app.settings.cors_origins)  # checks the setting before anything is served
    for module in MODULES:
        app.register_blueprint(module.blueprint)
    app.register_blueprint(docs.make_blueprint(app))
    _extend_by_operator(app)
    prepare_structs()
    return app


def _extend_by_operator(app: Application) -> None:
    """Applies MLDEPLOY_APP, which adds the operator's hooks, extensions and routes."""
    if not app.settings.app:
        return
    module_name, _, factory = app.settings.app.partition(":")
    try:
        result: object = getattr(importlib.import_module(module_name), factory)(app)
    except (ImportError, AttributeError) as error:
        raise BadSettings(f"MLDEPLOY_APP={app.settings.app}: {error}") from error
    if result is not app:
        raise BadSettings(f"MLDEPLOY_APP={app.settings.app} has to return the application that is passed to it, not {result!r}")
