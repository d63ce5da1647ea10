"""The one training loop, with its checkpoints, frozen features and evaluation. It knows no MLflow."""
