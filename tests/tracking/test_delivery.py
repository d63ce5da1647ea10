"""An entry can be sent any number of times, as after a lost answer or a kill, and arrives once."""

import numpy as np
import pytest
from mlflow import MlflowClient

from tests.conftest import coloured_images
from tp1.models.classifier import Classifier, Preparation
from tp1.models.cnn import CNNV2
from tp1.tracking.delivery import deliver
from tp1.tracking.model_files import save_classifier
from tp1.tracking.outbox import Entry, Point


@pytest.mark.parametrize("classes", [3, 60])
def test_a_result_that_is_sent_again_arrives_once(store, tmp_path, classes):
    """MLflow takes no more than a hundred of a model's points a second time, and three belong to each class."""
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    names = tuple(f"class {number}" for number in range(classes))
    model = Classifier(CNNV2(classes, 32, 0.1), names, Preparation(32, (0.5,) * 3, (0.25,) * 3))
    save_classifier(
        model, coloured_images(0, 2, 32, 0), np.zeros(1, np.uint64), "shapes", 32, run_id, tmp_path / "model"
    )
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("text")
    points = [
        Point(f"test/{measure}/{name}", 0.5, 1_700_000_000_000, of_model=True)
        for name in names
        for measure in ("precision", "recall", "f1")
    ]
    entry = Entry(points, {"tag": "value"}, "FINISHED", 1_700_000_001_000, tmp_path)
    ids = {deliver(client, run_id, entry) for _ in range(3)}
    (model_id,) = ids
    run = client.get_run(run_id)
    assert (run.info.status, run.info.end_time, run.data.tags["tag"]) == ("FINISHED", 1_700_000_001_000, "value")
    for point in points:
        assert len(client.get_metric_history(run_id, point.name)) == 1
    assert len(client.get_logged_model(model_id).metrics) == len(points)
    assert len(client.search_logged_models(["0"])) == 1
    assert len(run.outputs.model_outputs) == 1


@pytest.mark.parametrize("begun", [0, pytest.param(3, marks=pytest.mark.long)])
def test_of_models_that_were_begun_twice_one_is_left(store, tmp_path, monkeypatch, begun):
    """A server that hangs gets the same request several times, and may do all of them in the end."""
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    model = Classifier(CNNV2(3, 32, 0.1), ("a", "b", "c"), Preparation(32, (0.5,) * 3, (0.25,) * 3))
    save_classifier(
        model, coloured_images(0, 2, 32, 0), np.zeros(1, np.uint64), "shapes", 32, run_id, tmp_path / "model"
    )
    create = client.create_logged_model

    def create_twice(*arguments):  # as MLflow does whose first request was carried out, and its answer lost
        create(*arguments)
        return create(*arguments)

    monkeypatch.setattr(client, "create_logged_model", create_twice)
    for _ in range(begun):
        create("0", "model", run_id)
    model_id = deliver(client, run_id, Entry(status="FINISHED", folder=tmp_path))
    assert [logged.model_id for logged in client.search_logged_models(["0"])] == [model_id]
