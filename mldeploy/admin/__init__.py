"""What the operator does on the server, beside the service that runs. It needs scikit-learn and pandas."""
