"""The protocols of other model servers: the Open Inference Protocol and MLflow's."""
