"""The operator's commands on the server, beside a running service. All but those of keys need scikit-learn and pandas."""
