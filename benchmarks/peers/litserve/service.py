"""LitServe: the model with dynamic batching."""

import os
import sys

import joblib
import litserve


class Iris(litserve.LitAPI):
    def setup(self, device):
        self.model = joblib.load(os.environ["MODEL"])

    def decode_request(self, request):
        return list(request.values())

    def batch(self, inputs):
        return inputs

    def predict(self, rows):
        return [str(label) for label in self.model.predict(rows)]

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"prediction": output}


if __name__ == "__main__":
    api = Iris(max_batch_size=64, batch_timeout=0.001)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
