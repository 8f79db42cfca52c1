"""Ray Serve's asynchronous inference: a task consumer on its Celery adapter, and an ingress that submits and tells."""

import os
import sys
import time

import joblib
from fastapi import Body, FastAPI
from ray import serve
from ray.serve.schema import CeleryAdapterConfig, TaskProcessorConfig
from ray.serve.task_consumer import instantiate_adapter_from_config, task_consumer, task_handler

BROKER, MODEL = os.environ["BROKER"], os.environ["MODEL"]
CONFIG = TaskProcessorConfig(queue_name="iris", adapter_config=CeleryAdapterConfig(broker_url=BROKER, backend_url=BROKER))
app = FastAPI()


@serve.deployment(ray_actor_options={"num_cpus": 0.5})
@task_consumer(task_processor_config=CONFIG)
class Consumer:
    def __init__(self):
        self.model = joblib.load(MODEL)

    @task_handler(name="predict")
    def predict(self, row):
        return str(self.model.predict([row])[0])


@serve.deployment(ray_actor_options={"num_cpus": 0.5})
@serve.ingress(app)
class Ingress:
    def __init__(self, consumer):
        self.consumer = consumer
        self.adapter = instantiate_adapter_from_config(CONFIG)

    @app.post("/predict")
    def submit(self, row: list[float] = Body()):  # noqa: B008
        return {"id": self.adapter.enqueue_task_sync(task_name="predict", args=[row]).id}

    @app.get("/status/{task_id}")
    def status(self, task_id: str):
        found = self.adapter.get_task_status_sync(task_id)
        return {"status": found.status, "result": found.result if found.status == "SUCCESS" else None}


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Ingress.bind(Consumer.bind()))
    while True:
        time.sleep(3600)
