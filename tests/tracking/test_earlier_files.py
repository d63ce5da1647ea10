"""What earlier code wrote is read: a store, checkpoints, an outbox and records of commit 710cac1.

``tests/files/before_rooms.tar.xz`` was written by that commit's own commands in ``/tmp/tp1-before``: a finished run of
``cnn-base`` on the digits and its promotion, one that was interrupted after its second epoch, and one whose store
went away after its last epoch. The commands: cnn-base dataset=digits epochs=3 batch_size=256 precision=fp32 device=cpu
and seed=0, 1, 2; promote dataset=digits.
"""

import sqlite3
import tarfile
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from torch import nn

from tests.conftest import PROJECT, invoke
from tp1.commands.reference import read_record
from tp1.store.reader import RunReader

ARCHIVE = PROJECT / "tests" / "files" / "before_rooms.tar.xz"
WRITTEN_IN = "/tmp/tp1-before"
COLUMNS = (  # where MLflow keeps paths
    *(("runs", "artifact_uri"), ("experiments", "artifact_location")),
    *(("logged_models", "artifact_location"), ("model_versions", "storage_location")),
)
FINISHED, KILLED, UNSENT = (
    "3e383644faaa4d00a9eacaaf3c450232",
    "0671a5d2eb944c91ba91d1196267f841",
    "c2233d8cbab04738974d6229ed411b97",
)
VAL_LOSS = {
    FINISHED: [2.272643804550171, 2.2135090827941895, 2.086207628250122],
    KILLED: [2.248699188232422, 2.1431751],
}


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive, unpacked into ``tmp_path``, which is the working directory, with its paths brought there."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        for table, column in COLUMNS:
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (WRITTEN_IN, str(tmp_path)))
    connection.close()
    for plan in tmp_path.glob("state/runs/*/plan.json"):
        plan.write_text(plan.read_text().replace(WRITTEN_IN, str(tmp_path)))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def val_losses(run_id: str) -> list[float]:
    return [point.value for point in MlflowClient().get_metric_history(run_id, "val/loss")]


def test_the_store_is_read(earlier):
    (run,) = RunReader().find_runs("cnn-base")
    assert (run.run_id, run.name, run.seed, run.dataset) == (FINISHED, "cnn-base-s0", 0, "digits")
    assert run.metrics["test/accuracy"] == 0.5821727019498607
    assert RunReader().read_histories([FINISHED], ["val/loss"])[FINISHED]["val/loss"] == VAL_LOSS[FINISHED]
    result = invoke("cnn-base", "dataset=digits", "epochs=3", "batch_size=256", "precision=fp32", "seeds=0")
    assert result.exit_code == 0, result.output
    assert f"finished already: run {FINISHED}" in result.output
    compared = invoke("compare", "experiments=cnn-base")
    assert compared.exit_code == 0, compared.output
    assert "0.5822" in compared.output


def test_the_champion_is_read(earlier):
    result = invoke("download", "dataset=digits", "to=champion")
    assert result.exit_code == 0, result.output
    assert "tp1-digits version 1" in (earlier / "champion" / "MODEL_CARD.md").read_text()


class CNNBaseThen(nn.Module):
    """``cnn-base``'s network of that commit."""

    def __init__(self, classes: int, image_size: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for filters_in, filters in ((3, 8), (8, 32), (32, 16)):
            layers += [nn.Conv2d(filters_in, filters, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        side = image_size // 8
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(16 * side * side, classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


def test_a_run_of_another_network_is_not_gone_on_with(earlier):
    result = invoke("cnn-base", f"resume={KILLED}")
    assert result.exit_code == 1
    assert (
        "model_parameters=24282 is not the run's 9754: a resumed run keeps its parameters. Go on with its code (commit"
        in (result.stderr)
    )
    assert val_losses(KILLED) == pytest.approx(VAL_LOSS[KILLED])


def test_checkpoints_are_gone_on_from(earlier, monkeypatch):
    monkeypatch.setattr("tp1.models.cnn.CNNBase", CNNBaseThen)
    shown = invoke("runs")
    assert "killed" in shown.output
    assert "epoch 2" in shown.output
    result = invoke("cnn-base", f"resume={KILLED}")
    assert result.exit_code == 0, result.output
    assert "Going on from epoch 2 of 3" in result.output
    assert MlflowClient().get_run(KILLED).info.status == "FINISHED"
    losses = val_losses(KILLED)
    assert len(losses) == 3
    assert losses[:2] == pytest.approx(VAL_LOSS[KILLED])


def test_the_outbox_is_sent(earlier):
    assert "unsent" in invoke("runs").output
    result = invoke("sync")
    assert result.exit_code == 0, result.output
    run = MlflowClient().get_run(UNSENT)
    assert run.info.status == "FINISHED"
    assert len(val_losses(UNSENT)) == 3
    assert "curves.png" in {item.path for item in MlflowClient().list_artifacts(UNSENT)}
    model = mlflow.pyfunc.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
    assert model.metadata.metadata["dataset"] == "digits"
    assert "No unfinished runs" not in invoke("runs").output  # the interrupted one is still there


def test_the_records_in_the_repository_are_read():
    records = [read_record(path.parent) for path in (PROJECT / "reference").rglob("run.json")]
    assert len(records) >= 21
    assert all(record.run_id and record.files for record in records)
