"""The service that most tutorials build: one Celery task per request, its result in Celery's result backend, polled."""

import os

import joblib
from celery import Celery
from celery.result import AsyncResult
from flask import Flask, jsonify, request

celery = Celery("tutorial", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app = Flask("tutorial")
model = joblib.load(os.environ["MODEL"])

FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")


@celery.task
def predict(row):
    return str(model.predict([row])[0])


@app.post("/predict")
def submit():
    body = request.get_json()
    return jsonify(id=predict.delay([body[name] for name in FEATURES]).id), 202


@app.get("/result/<task_id>")
def result(task_id):
    found = AsyncResult(task_id, app=celery)
    return jsonify(state=found.state, prediction=found.result if found.state == "SUCCESS" else None)
