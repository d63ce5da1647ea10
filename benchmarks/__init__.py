"""Measurements, side by side: ``python -m benchmarks`` (``make bench``) writes docs/BENCHMARKS.md."""
