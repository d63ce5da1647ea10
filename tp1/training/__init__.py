"""The training loop, with checkpoints, cached features and evaluation. Nothing here depends on MLflow."""
