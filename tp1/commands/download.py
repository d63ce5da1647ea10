"""Download of a model from the registry to a folder: pt2 program, safetensors weights, labels, model card.

Repeat: mlflow run . -e download -P dataset=cifar10
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from tp1.base.errors import TP1Error
from tp1.commands.command import Command
from tp1.commands.tool import tool_command
from tp1.data.sources import dataset_name
from tp1.experiment import Experiment, Study, by_name_and_configuration
from tp1.registry.download import download as write
from tp1.registry.same_data import check_path
from tp1.registry.stored_models import find_model, find_model_of_run
from tp1.registry.versions import CHAMPION, registered_name
from tp1.tracking.tool_run import ToolRun


def download_command(catalog: Sequence[Experiment | Study]) -> Command:
    """Return the command ``download``."""
    return tool_command(
        "download",
        "Fetch a model from the registry into a folder, checked: pt2 program, weights, labels, card.",
        [
            click.Option(["--dataset"], help="Whose champion: a name, or the path of a folder.  [default: cifar10]"),
            click.Option(["--version"], type=int, help="This version in place of the champion."),
            click.Option(["--alias"], help="What this alias points to, such as challenger."),
            click.Option(["--run-id"], help="The model of this run, promoted or not."),
            click.Option(["--to"], type=click.Path(path_type=Path), help="The folder.  [default: the model's name]"),
        ],
        partial(download, catalog),
    )


def download(
    catalog: Sequence[Experiment | Study],
    run: ToolRun,
    dataset: str = "cifar10",
    version: int | None = None,
    alias: str | None = None,
    run_id: str | None = None,
    to: Path | None = None,
) -> list[str]:
    """Fetch a model, check it and write it to a folder; return the lines to print."""
    if sum(given is not None for given in (version, alias, run_id)) > 1:
        raise TP1Error("give one of version, alias and run_id.")
    name = registered_name(dataset_name(dataset))
    if run_id is not None:
        model, title = find_model_of_run(run_id), f"run-{run_id[:8]}"
    elif version is not None:
        model, title = find_model(f"models:/{name}/{version}"), f"{name}-v{version}"
    else:
        model, title = find_model(f"models:/{name}@{alias or CHAMPION}"), name
    if run_id is None:  # else the data set names no model
        check_path(model, dataset)
    run.log_parameters({"dataset": dataset, "model_id": model.model_id})
    run.rename(f"download-{title}")
    folder = write(model, by_name_and_configuration(catalog), to or Path(title))
    run.log_note(f"**download** of {model}.\n\n    {run.command}\n")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [f"{model}:", *(f"{path.stat().st_size / 1e6:10.2f} MB  {path}" for path in files)]
