"""The limit: a bare Flask view around the model, synchronous, on the server that the API runs on."""

import os
from typing import Any

import joblib
from flask import Flask, jsonify, request

app = Flask("bare")
model: Any = joblib.load(os.environ["MODEL"])


@app.post("/predict")
def predict() -> Any:
    return jsonify(prediction=str(model.predict([list(request.get_json().values())])[0]))
