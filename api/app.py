"""The Flask app: the routes, each an async view of its blueprint."""

from flask import Flask

from api import aliases, datasets, docs, health, infer, invocations, listing, models, predict, result, train, v2, webhook_secret


def create_app() -> Flask:
    app = Flask("api", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    for feature in (predict, train, result, listing, models, aliases, datasets, webhook_secret, v2, infer, invocations, health):
        app.register_blueprint(feature.blueprint)
    app.register_blueprint(docs.make_blueprint(app))
    return app
