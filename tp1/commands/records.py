"""``tp1 export`` and ``tp1 import``: keep finished runs and sweeps as small folders, and load them into a store."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import click

from tp1.base.errors import TP1Error
from tp1.commands.command import Command
from tp1.commands.reference import export_run, import_runs, read_model_files
from tp1.config import tracked_reading
from tp1.data.dataset import load_data
from tp1.experiment import Experiment, Study, by_name_and_configuration
from tp1.report.sweeps import collect
from tp1.store.addresses import masked
from tp1.store.prepare import prepare_store
from tp1.store.reader import RunReader, find_run
from tp1.store.records import RunRecord
from tp1.store.runs import PRUNED_TAG, SWEEP_TAG, TRIAL_TAG

REFERENCE = Path("reference")
Known = Mapping[tuple[str, str], Experiment]


def _export(
    known: Known, run_ids: tuple[str, ...], to: Path, replace: bool, with_model: bool, data_dir: Path | None
) -> None:
    prepare_store()

    def model_files(record: RunRecord) -> Mapping[str, bytes]:
        if PRUNED_TAG in record.tags:  # it has no model
            return {}
        from tp1.commands.reference_models import model_files as make  # imported late, because it imports torch

        experiment = _experiment(record, known)
        data = load_data(
            record.tags["tp1.dataset"], data_dir, int(record.params["image_size"]), **tracked_reading(record.params)
        )
        return make(record, experiment, data)

    for run_id in [one for given in run_ids for one in _runs_of(given)]:
        target = export_run(run_id, to, replace=replace, model_files=model_files if with_model else None)
        size = sum(path.stat().st_size for path in target.iterdir())
        click.echo(f"{target}  {size / 1000:,.0f} kB")


def _runs_of(run_id: str) -> list[str]:
    """Return the run itself; in place of a sweep, its trials that are over."""
    tags = find_run(run_id).data.tags
    if SWEEP_TAG not in tags or TRIAL_TAG in tags:
        return [run_id]
    sweeps = collect(RunReader().find_trials(tags[SWEEP_TAG]))
    trials = [trial.run_id for sweep in sweeps for trial in sweep.ended.values()]
    if not trials:
        raise TP1Error(f"sweep {run_id} cannot be kept yet: none of its trials is over.")
    return trials


def _import(known: Known, folder: Path) -> None:
    click.echo(f"Tracking in {masked(prepare_store())}")
    new = 0
    for path, record, run_id, is_new in import_runs(folder):
        new += is_new
        click.echo(f"{path}  {f'run {run_id}' if is_new else 'is there already'}")
        if files := read_model_files(path):
            from tp1.commands.reference_models import register_champion, restore_model

            experiment = _experiment(record, known)
            model = restore_model(record, files, experiment, run_id)
            version = register_champion(record, experiment, model)
            if version is not None:
                click.echo(f"{path}  its model is {version} and champion: models:/{version.name}@champion")
    click.echo(f"{new} new reference runs.")


def _experiment(record: RunRecord, known: Known) -> Experiment:
    name, configuration = record.tags.get("tp1.experiment", ""), record.tags.get("tp1.configuration", "")
    if (name, configuration) not in known:
        raise TP1Error(f"{record.name}: there is no experiment {name} {configuration} here to build its model with.")
    return known[name, configuration]


def export_command(catalog: Sequence[Experiment | Study]) -> Command:
    """Return the command ``export``."""
    return Command(
        "export",
        callback=partial(_export, by_name_and_configuration(catalog)),
        help="Write finished runs as small folders of JSON and parquet; of a sweep, all its trials.",
        params=[
            click.Argument(["run_ids"], nargs=-1, required=True, metavar="RUN_ID..."),
            click.Option(["--replace"], is_flag=True, help="Write over another run's record of the same name."),
            click.Option(
                ["--with-model"],
                is_flag=True,
                help="Also the model's weights in half precision, checked on the test images.",
            ),
            click.Option(["--data-dir"], type=click.Path(path_type=Path), help="Where the data set is, for the check."),
            click.Option(
                ["--to"], type=click.Path(path_type=Path), default=REFERENCE, show_default=True, help="Folder."
            ),
        ],
    )


def import_command(catalog: Sequence[Experiment | Study]) -> Command:
    """Return the command ``import``."""
    return Command(
        "import",
        callback=partial(_import, by_name_and_configuration(catalog)),
        help="Load exported runs into the tracking store, marked as reference, each once; "
        "a model among them becomes champion where there is none.",
        params=[click.Argument(["folder"], type=click.Path(path_type=Path), default=REFERENCE)],
    )
