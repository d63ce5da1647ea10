"""The run of a tool, such as ``compare``: starting it, logging to it and ending it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunInfo, RunTag
from mlflow.exceptions import MlflowException

from tp1.base.errors import TP1Error
from tp1.base.interrupts import interruption
from tp1.data.dataset import ImageData
from tp1.store.addresses import how_to_open, run_page
from tp1.store.runs import PARENT_TAG
from tp1.tracking.datasets import data_tags, dataset_inputs
from tp1.tracking.every_run import (
    NAME_TAG,
    NOTE_TAG,
    begin_run,
    fail_run,
    mark_experiment,
    milliseconds,
    run_tags,
)
from tp1.tracking.ownership import held
from tp1.tracking.system_metrics import sampled


class ToolRun:
    """The run of a tool, open for logging.

    Attributes:
        info: MLflow's information about the run. Runs that the tool trains become its children.
        command: The command that repeats the run.
        page: The address of the run in the tracking UI, and how to start the UI if necessary.
    """

    def __init__(self, info: RunInfo, command: str) -> None:
        self.info = info
        self.command = command
        self.page = how_to_open(mlflow.get_tracking_uri(), run_page(info.experiment_id, info.run_id))
        self._client = MlflowClient()

    def __reduce__(self) -> tuple[type["ToolRun"], tuple[RunInfo, str]]:
        """Let other processes have it, for the runs below it."""
        return ToolRun, (self.info, self.command)

    def rename(self, name: str) -> None:
        """Rename the run, such as to ``promote-cifar10``."""
        self._client.set_tag(self.info.run_id, NAME_TAG, name)

    def adopt(self, run_id: str) -> None:
        """Make another run a child of this one."""
        self._client.set_tag(run_id, PARENT_TAG, self.info.run_id)

    def tag(self, name: str, value: str) -> None:
        """Set a tag of the run."""
        self._client.set_tag(self.info.run_id, name, value)

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics of one step."""
        time = milliseconds()
        self._client.log_batch(
            self.info.run_id, metrics=[Metric(name, value, time, step) for name, value in values.items()]
        )

    def log_parameters(self, parameters: Mapping[str, object]) -> None:
        """Log the parameters that the run does not have yet.

        ``mlflow run -P`` has already logged the given ones, as the user spelled them, and MLflow does not accept
        another value for a parameter.
        """
        given = self._client.get_run(self.info.run_id).data.params
        new = [Param(key, str(value)) for key, value in parameters.items() if key not in given]
        self._client.log_batch(self.info.run_id, params=new)

    def log_note(self, text: str) -> None:
        """Set the run's description, in Markdown."""
        self._client.set_tag(self.info.run_id, NOTE_TAG, text)

    def log_data(self, data: ImageData) -> None:
        """Log a data set as tags, and its parts as MLflow dataset inputs."""
        tags = [RunTag(key, value) for key, value in data_tags(data).items()]
        self._client.log_batch(self.info.run_id, tags=tags)
        self._client.log_inputs(self.info.run_id, datasets=list(dataset_inputs(data).values()))

    def log_files(self, files: Mapping[str, bytes]) -> None:
        """Log artifacts by name; names may contain subfolders."""
        with TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._client.log_artifacts(self.info.run_id, folder)

    def log_table(self, table: pd.DataFrame, name: str) -> None:
        """Log a table as an artifact that the tracking UI shows as one; ``name`` ends in ``.json``."""
        self._client.log_table(self.info.run_id, table.astype(object), name)  # MLflow warns of pandas' own texts

    def log_system_metrics(self, measured: Mapping[str, float], step: int) -> None:
        """Log load and memory of the machine; an unreachable store is ignored, since nothing depends on these."""
        time = milliseconds()
        with suppress(MlflowException):
            self._client.log_batch(
                self.info.run_id, metrics=[Metric(name, value, time, step) for name, value in measured.items()]
            )


@contextmanager
def tool_run(
    name: str, command: str = "", *, parent: ToolRun | None = None, launched: str | None = None
) -> Iterator[ToolRun]:
    """Yield the run of a tool, open for logging; when the block ends, the run ends.

    The run ends as FINISHED; as KILLED if a signal interrupts it; and as FAILED, with ``error.txt``, on any other
    error. The interrupt or error is raised again.

    Args:
        name: The entry point. It becomes the run's name and its tag ``tp1.experiment``.
        command: The command that repeats the run.
        parent: The parent of a new run.
        launched: The id of the run that ``mlflow run`` has started for this process.
    """
    run_id = begin_run(run_tags(name) | {NAME_TAG: name}, parent.info if parent else None, launched)
    client = MlflowClient()
    with ExitStack() as stack:
        try:
            with suppress(TP1Error):  # a tool also works if the state directory cannot be written
                stack.enter_context(held(run_id))
            run = ToolRun(client.get_run(run_id).info, command)
            mark_experiment(run.info.experiment_id)
            with sampled(run_id, run.log_system_metrics):
                yield run
        except BaseException as error:
            if (stop := interruption(error)) is not None:
                with suppress(Exception):
                    client.set_terminated(run_id, "KILLED")
                raise stop from None if stop is error else error
            fail_run(run_id, error)
            raise
        client.set_terminated(run_id, "FINISHED")
