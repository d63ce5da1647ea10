"""The report's classification reports, table by table, as printed there (``published.json``).

Source: Aprendizagem Profunda Aplicada, Trabalho Prático 1, Gonçalo Bastos and Leonardo Cordeiro, 29 October 2024.
"""

import json
from pathlib import Path
from typing import Any


def report(experiment: str) -> dict[str, Any]:
    """Return a published report: ``per_class`` (precision, recall, f1, support), accuracy, averages, support."""
    reports: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return reports[experiment]
