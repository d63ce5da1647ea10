"""Trained models in use: promotion, download, prediction, and migration to another tracking store."""
