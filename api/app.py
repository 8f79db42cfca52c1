"""The Flask app: the routes, each an async view of its blueprint."""

from flask import Flask

from api import aliases, datasets, health, models, predict, result, train


def create_app() -> Flask:
    app = Flask("api", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    for feature in (predict, train, result, models, aliases, datasets, health):
        app.register_blueprint(feature.blueprint)
    return app
