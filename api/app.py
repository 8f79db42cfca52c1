"""The Flask app."""

from flask import Flask

from api import health, models, predict, problem, result, service, train
from settings import Settings


def create_app(settings: Settings) -> Flask:
    app = Flask("api", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body + 1  # so that a body over the limit shows (see body.read)
    app.url_map.strict_slashes = False
    problem.install(app)
    service.install(app, settings)
    for feature in (predict, train, result, models, health):
        app.register_blueprint(feature.blueprint)
    return app
