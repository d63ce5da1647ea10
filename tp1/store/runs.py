"""The only module that reads runs from MLflow."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository

from tp1.base.errors import TP1Error
from tp1.base.names import printable, whole_number
from tp1.store import database as run_database
from tp1.store import server as run_server
from tp1.store.database import Point, RawRun, images_of, is_database
from tp1.store.prepare import is_server, masked, quoted

# What a record keeps of a run's artifacts: the figures can be drawn from these.
RECORD_FILES = (
    "classification_report.csv",
    "classification_report.json",
    "classification_report.txt",
    "config.json",
    "confusion_matrix.csv",
    "environment.txt",
    "model_summary.txt",
    "predictions.parquet",
)
LOOK_FILES = ("samples.png", "class_distribution.csv", "channels.csv")  # of an eda run
REFERENCE_TAG = "tp1.reference"  # on a run that was loaded from a record: the id of the run it was made from
MACHINE_TAG = "tp1.machine"  # the name of the machine that a run runs on, to tell which ones were left behind there
MIGRATED_TAG = "tp1.migrated_from"  # on what came from another store: the id that it has there
PAGE = 200  # runs read at a time; a server shares them out between its workers
CURVES = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")  # by epoch
# What a comparison needs of a run's metrics; one that lacks any was not logged whole.
COMPARED_METRICS = (
    *(*CURVES, "train/images_per_second"),
    *("best/epoch", "best/val_accuracy", "best/val_loss"),
    *("test/accuracy", "test/loss", "test/precision_macro", "test/recall_macro", "test/f1_macro"),
)


COMPARED_TAGS = (
    *("tp1.experiment", "tp1.configuration", "tp1.dataset", "tp1.seed", "tp1.data_digest", "tp1.split_digest"),
    *("tp1.remark", REFERENCE_TAG, MIGRATED_TAG, "mlflow.source.name"),
)


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A finished training run as a comparison sees it: no histories, no files.

    Attributes:
        mlflow_experiment: The id of the MLflow experiment that holds it.
        start_time, end_time: Milliseconds since 1970, UTC.
        configuration: Such as ``c2``, or empty.
        seed: -1 where that is not tracked.
        params: The parameters, as tracked.
        metrics: The last value of each of :data:`COMPARED_METRICS`; epochs' metrics are those of the last epoch.
        train_images: Images in an epoch; 0 where that is not tracked.
        record: The folder of the record that it was loaded from; empty where it ran here.
        original: The id of the run that the record was made from or that was migrated, else its own.
        remark: What somebody wrote down about the run (tag ``tp1.remark``), for the report.
    """

    run_id: str
    mlflow_experiment: str
    name: str
    start_time: int
    end_time: int
    experiment: str
    configuration: str
    dataset: str
    seed: int
    data_digest: str
    split_digest: str
    params: dict[str, str]
    metrics: dict[str, float]
    train_images: int
    record: str
    original: str
    remark: str = ""

    @property
    def seconds(self) -> float:
        """From its start to its end."""
        return (self.end_time - self.start_time) / 1000

    @property
    def missing(self) -> list[str]:
        """What a comparison needs and it lacks."""
        return [name for name in COMPARED_METRICS if name not in self.metrics] + ["tp1.seed"] * (self.seed < 0)


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that need not have ended.

    Attributes:
        status: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``.
        start_time: Milliseconds since 1970, UTC.
        machine: The name of that which it runs on; empty where it is not tracked.
    """

    run_id: str
    name: str
    experiment: str
    status: str
    start_time: int
    machine: str


class RunReader:
    """Reads runs from a tracking store.

    Args:
        uri: Of the store; None: the one in use.
    """

    def __init__(self, uri: str | None = None) -> None:
        self.uri = uri or mlflow.get_tracking_uri()
        self._client = MlflowClient(self.uri)

    def find_runs(
        self, experiment: str | None = None, dataset: str | None = None, since: int | None = None
    ) -> Iterator[TrainedRun]:
        """Finished training runs in all MLflow experiments of the tracking store, newest first.

        Args:
            experiment: Tag ``tp1.experiment``.
            dataset: Tag ``tp1.dataset``.
            since: Milliseconds since 1970, UTC: only runs that started then or later.
        """
        given = {"tp1.experiment": experiment, "tp1.dataset": dataset}
        where = {tag: value for tag, value in given.items() if value is not None}
        if is_database(self.uri):
            raw = run_database.read_runs(self.uri, where, since, COMPARED_TAGS, COMPARED_METRICS)
        else:
            conditions = ["attributes.status = 'FINISHED'", "tags.`tp1.model` IS NOT NULL"]
            conditions += [f"tags.`{tag}` = {quoted(value)}" for tag, value in where.items()]
            if since is not None:
                conditions.append(f"attributes.start_time >= {since}")
            if is_server(self.uri):
                raw = run_server.search_runs(self.uri, _experiment_ids(self._client), " AND ".join(conditions), PAGE)
            else:
                raw = (_raw_run(run) for run in self._search(" AND ".join(conditions)))
        yield from map(_trained_run, raw)

    def find_looks(self) -> dict[str, str]:
        """The newest finished ``eda`` run of each data set: run id by name."""
        found: dict[str, str] = {}
        conditions = "attributes.status = 'FINISHED' AND tags.`tp1.experiment` = 'eda' AND tags.`tp1.dataset` != ''"
        for run in self._search(conditions):
            found.setdefault(run.data.tags["tp1.dataset"], run.info.run_id)
        return found

    def find_started(self, run_ids: Sequence[str]) -> list[StartedRun]:
        """The runs that say they are running, and those of ``run_ids`` that are there; newest first."""
        running = self._search("attributes.status = 'RUNNING' AND tags.`tp1.experiment` != ''")
        found = {run.info.run_id: run for run in running}
        for run_id in run_ids:
            with suppress(MlflowException):
                found.setdefault(run_id, self._client.get_run(run_id))
        started = [
            StartedRun(
                run_id=run_id,
                name=run.info.run_name,
                experiment=run.data.tags.get("tp1.experiment", ""),
                status=run.info.status,
                start_time=run.info.start_time,
                machine=run.data.tags.get(MACHINE_TAG, ""),
            )
            for run_id, run in found.items()
            if run.info.lifecycle_stage == "active"
        ]
        return sorted(started, key=lambda run: run.start_time, reverse=True)

    def read_histories(self, run_ids: Sequence[str], metrics: Sequence[str]) -> dict[str, dict[str, list[float]]]:
        """The values of metrics by step, by run and metric; an empty list where a run has none."""
        histories: dict[str, dict[str, list[float]]] = {run_id: {name: [] for name in metrics} for run_id in run_ids}
        if is_database(self.uri):
            points = run_database.read_points(self.uri, run_ids, metrics)
        elif is_server(self.uri):
            points = run_server.read_points(self.uri, run_ids, metrics)
        else:
            points = self._points(run_ids, metrics)
        for run_id, name, value in points:
            histories[run_id][name].append(value)
        return histories

    def read_file(self, run_id: str, name: str) -> bytes:
        """An artifact of a run.

        Raises:
            TP1Error: The run has no such artifact.
        """
        with TemporaryDirectory() as folder:
            try:
                return Path(self._client.download_artifacts(run_id, name, folder)).read_bytes()
            except (MlflowException, OSError) as error:
                raise TP1Error(
                    f"run {run_id} has no artifact {name}: it was not logged whole; run it again, and delete this one."
                ) from error

    def _points(self, run_ids: Sequence[str], metrics: Sequence[str]) -> Iterator[Point]:
        for run_id in run_ids:
            for name in metrics:
                history = self._client.get_metric_history(run_id, name)
                for point in sorted(history, key=lambda point: (point.step, point.timestamp)):
                    yield run_id, name, point.value

    def _search(self, conditions: str) -> Iterator[Run]:
        """Runs of all MLflow experiments, newest first."""
        experiments = _experiment_ids(self._client)
        token = None
        while True:
            page = self._client.search_runs(
                experiments, conditions, max_results=PAGE, order_by=["start_time DESC"], page_token=token
            )
            yield from page
            if not (token := page.token):
                return


def _raw_run(run: Run) -> RawRun:
    datasets = run.inputs.dataset_inputs if run.inputs else []
    training = [
        item.dataset.profile
        for item in datasets
        if any(tag.key == "mlflow.data.context" and tag.value == "training" for tag in item.tags)
    ]
    return RawRun(
        run_id=run.info.run_id,
        mlflow_experiment=run.info.experiment_id,
        name=run.info.run_name,
        start_time=run.info.start_time,
        end_time=run.info.end_time,
        tags=run.data.tags,
        params=run.data.params,
        metrics=run.data.metrics,
        train_images=images_of(training[0]) if training else 0,
    )


def _trained_run(raw: RawRun) -> TrainedRun:
    tags, metrics = raw.tags, raw.metrics
    return TrainedRun(
        run_id=raw.run_id,
        mlflow_experiment=raw.mlflow_experiment,
        name=printable(raw.name or ""),
        start_time=raw.start_time,
        end_time=raw.end_time,
        experiment=printable(tags.get("tp1.experiment", "")),
        configuration=printable(tags.get("tp1.configuration", "")),
        dataset=printable(tags.get("tp1.dataset", "")),
        seed=-1 if (seed := whole_number(tags.get("tp1.seed", ""))) is None else seed,
        data_digest=tags.get("tp1.data_digest", ""),
        split_digest=tags.get("tp1.split_digest", ""),
        params={key: printable(value) for key, value in raw.params.items()},
        metrics={name: metrics[name] for name in COMPARED_METRICS if name in metrics},
        train_images=raw.train_images,
        record=tags.get("mlflow.source.name", "") if REFERENCE_TAG in tags else "",
        original=tags.get(REFERENCE_TAG) or tags.get(MIGRATED_TAG, raw.run_id),
        remark=printable(" ".join(tags.get("tp1.remark", "").split())),
    )


def _experiment_ids(client: MlflowClient) -> list[str]:
    ids, token = [], None
    while True:
        page = client.search_experiments(max_results=PAGE, page_token=token)
        ids += [experiment.experiment_id for experiment in page]
        if not (token := page.token):
            return ids


@dataclass(frozen=True)
class RunRecord:
    """A finished training or ``eda`` run without its model, complete enough to be compared and reported.

    Attributes:
        run_id: The id of the run that the record was made from.
        start_time, end_time: Milliseconds since 1970, UTC.
        metrics: By name, the history as (step, milliseconds since 1970, value).
        datasets: MLflow's dataset inputs, with their ``context``.
        files: Artifacts by name.
    """

    run_id: str
    name: str
    start_time: int
    end_time: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, list[tuple[int, int, float]]]
    datasets: list[dict[str, Any]]
    files: dict[str, bytes]


def read_run(run_id: str) -> RunRecord:
    """The record of a finished training run, or of a look at data (``eda``).

    Raises:
        TP1Error: There is no such run, it is not finished, or it is neither of the two.
    """
    client = MlflowClient()
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise TP1Error(
            f"no run {run_id} in {masked(mlflow.get_tracking_uri())}: copy its id from the tracking UI."
        ) from error
    tags = run.data.tags
    if run.info.status != "FINISHED" or not ("tp1.model" in tags or tags.get("tp1.experiment") == "eda"):
        raise TP1Error(
            f"run {run_id} is {run.info.status} and cannot be kept: it must be a finished training or eda run."
        )
    files = {}
    with TemporaryDirectory() as folder:
        for name in record_files(tags):
            try:
                files[name] = Path(client.download_artifacts(run_id, name, folder)).read_bytes()
            except (MlflowException, OSError) as error:
                raise TP1Error(f"run {run_id} has no artifact {name}: it was not logged whole.") from error
    return RunRecord(
        run_id=run_id,
        name=run.info.run_name,
        start_time=run.info.start_time,
        end_time=run.info.end_time,
        params=dict(run.data.params),
        tags={
            key: value
            for key, value in run.data.tags.items()
            if (key.startswith("tp1.") and key != MACHINE_TAG) or key == "mlflow.note.content"
        },
        metrics={
            key: [(point.step, point.timestamp, point.value) for point in client.get_metric_history(run_id, key)]
            for key in run.data.metrics
        },
        datasets=_datasets(run),
        files=files,
    )


def record_files(tags: Mapping[str, str]) -> tuple[str, ...]:
    """The files that the record of a run with these tags has."""
    return RECORD_FILES if "tp1.model" in tags else LOOK_FILES


def download_weights(model_uri: str, folder: Path) -> Path:
    """Fetch the weights file of a model of this platform into ``folder``.

    Args:
        model_uri: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``models:/m-ID``.

    Raises:
        TP1Error: There is no such model, or it was not made by this platform.
    """
    name = "extra_files/weights.safetensors"
    try:
        return Path(ModelsArtifactRepository(model_uri).download_artifacts(name, str(folder)))
    except (MlflowException, OSError) as error:
        raise TP1Error(
            f"no model {model_uri} with {name} in {masked(mlflow.get_tracking_uri())} "
            f"({str(error).splitlines()[0]}): see the model registry."
        ) from error


def find_copy(run_id: str) -> str | None:
    """The id under which run ``run_id`` is in the store: its own, or that of a reference or a copy made from it."""
    try:
        here = MlflowClient().get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        here = False
    if not here:
        experiments = _experiment_ids(MlflowClient())
        for tag in (REFERENCE_TAG, MIGRATED_TAG):
            copies = mlflow.search_runs(
                experiments, f"tags.`{tag}` = {quoted(run_id)}", max_results=1, output_format="list"
            )
            if copies:
                return str(copies[0].info.run_id)
        return None
    return run_id


def _datasets(run: Run) -> list[dict[str, Any]]:
    entries = []
    for item in run.inputs.dataset_inputs if run.inputs else []:
        context = next((tag.value for tag in item.tags if tag.key == "mlflow.data.context"), "")
        entries.append({**item.dataset.to_dictionary(), "context": context})
    return entries
