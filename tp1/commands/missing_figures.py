"""The figures of a finished run that lacks them: its process was killed before they were drawn, or they failed."""

from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient

from tp1.store.records import make_record

DRAWN = {"curves.png", "confusion_matrix.png"}  # in every finished run of training


def draw_missing(run_id: str) -> list[str]:
    """Draw a finished training run's figures from its tables, where there are none; return their file names.

    Raises:
        TP1Error: One of its other files is missing.
    """
    client = MlflowClient()
    there = {item.path for item in client.list_artifacts(run_id)}
    if there >= DRAWN:
        return []
    from tp1.report.run_figures import record_figures  # imported late, because it imports matplotlib

    drawn = {name: content for name, content in record_figures(make_record(run_id)).items() if name not in there}
    with TemporaryDirectory() as folder:
        for name, content in drawn.items():
            (Path(folder) / name).write_bytes(content)
        client.log_artifacts(run_id, folder)
    return sorted(drawn)
