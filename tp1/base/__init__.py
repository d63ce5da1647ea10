"""Helpers for text, files, folders and signals, used by all other packages."""
