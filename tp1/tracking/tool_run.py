"""The run of a tool, such as ``compare``: begun, written and ended."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunInfo, RunTag
from mlflow.exceptions import MlflowException

from tp1.base.errors import TP1Error
from tp1.base.interrupts import interruption
from tp1.data.dataset import ImageData
from tp1.store.addresses import how_to_open, run_page
from tp1.tracking.datasets import data_tags, dataset_inputs
from tp1.tracking.every_run import NAME_TAG, NOTE_TAG, begin_run, fail_run, mark_experiment, milliseconds, run_tags
from tp1.tracking.ownership import held
from tp1.tracking.system_metrics import sampled


class ToolRun:
    """The run of a tool, being written.

    Attributes:
        info: MLflow's of the run; whatever the tool trains becomes a child of it.
        command: What repeats the run.
        page: Where to look at it.
    """

    def __init__(self, info: RunInfo, command: str) -> None:
        self.info = info
        self.command = command
        self.page = how_to_open(mlflow.get_tracking_uri(), run_page(info.experiment_id, info.run_id))
        self._client = MlflowClient()

    def rename(self, name: str) -> None:
        """Give the run another name, such as ``promote-cifar10``, once it is known."""
        self._client.set_tag(self.info.run_id, NAME_TAG, name)

    def log_parameters(self, parameters: Mapping[str, object]) -> None:
        """Log parameters, but for those that the run has.

        ``mlflow run -P`` has logged what was given, as it was spelled, and a parameter cannot be logged twice.
        """
        given = self._client.get_run(self.info.run_id).data.params
        new = [Param(key, str(value)) for key, value in parameters.items() if key not in given]
        self._client.log_batch(self.info.run_id, params=new)

    def log_note(self, text: str) -> None:
        """The run's description, in Markdown."""
        self._client.set_tag(self.info.run_id, NOTE_TAG, text)

    def log_data(self, data: ImageData) -> None:
        """The data set and its parts, as MLflow data sets and as tags."""
        tags = [RunTag(key, value) for key, value in data_tags(data).items()]
        self._client.log_batch(self.info.run_id, tags=tags)
        self._client.log_inputs(self.info.run_id, datasets=list(dataset_inputs(data).values()))

    def log_files(self, files: Mapping[str, bytes]) -> None:
        """Artifacts by name, which may lead into folders."""
        with TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._client.log_artifacts(self.info.run_id, folder)

    def log_system_metrics(self, measured: Mapping[str, float], step: int) -> None:
        """Load and memory of the machine; nothing depends on them, so a store that is away is no error."""
        time = milliseconds()
        with suppress(MlflowException):
            self._client.log_batch(
                self.info.run_id, metrics=[Metric(name, value, time, step) for name, value in measured.items()]
            )


@contextmanager
def tool_run(
    name: str, command: str = "", *, parent: ToolRun | None = None, launched: str | None = None
) -> Iterator[ToolRun]:
    """The run of a tool, to be filled inside.

    It ends FINISHED; KILLED where the user interrupts it; and FAILED, with ``error.txt``, on any other
    error, which is raised again.

    Args:
        name: The entry point: name of the run, and its tag ``tp1.experiment``.
        command: What repeats it.
        parent: Of a new run, which becomes its child.
        launched: The id of the run that ``mlflow run`` has started for this process.
    """
    run_id = begin_run(run_tags(name) | {NAME_TAG: name}, parent.info if parent else None, launched)
    client = MlflowClient()
    with ExitStack() as stack:
        try:
            with suppress(TP1Error):  # looking at runs needs no folder of its own
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
