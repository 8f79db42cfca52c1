"""The operator's commands on the server, beside a running service. They need scikit-learn and pandas."""
