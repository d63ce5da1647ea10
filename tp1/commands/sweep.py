"""Search for better parameters of an experiment: many short trials, chosen by validation accuracy.

Repeat: mlflow run . -e sweep -P experiment=cnnv3 -P space=learning_rate=log:1e-4..1e-2,dropout=0.1..0.6
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from tp1.base.errors import TP1Error
from tp1.commands.command import Command, one_line
from tp1.commands.parameters import SPREAD_OPTIONS, as_command, config_options
from tp1.commands.tool import tool_command
from tp1.experiment import Experiment, Study
from tp1.report.selection import named
from tp1.store.runs import SWEEP_TAG
from tp1.sweeps.jobs import failures
from tp1.sweeps.space import EXAMPLE, MOST_TRIALS, PRUNERS, SAMPLERS, TRIALS
from tp1.sweeps.spread import Spread
from tp1.tracking.tool_run import ToolRun

SEEDS = (0, 1, 2)  # of the command that trains the best


def sweep_command(catalog: Sequence[Experiment | Study]) -> Command:
    """Return the command ``sweep``."""
    return tool_command(
        "sweep",
        "Search for better parameters of an experiment in many trials; bad ones are stopped early. The choice is by "
        "validation accuracy. The same command goes on with an interrupted sweep.",
        [
            click.Option(["--experiment"], required=True, help="What to train, such as cnnv3."),
            click.Option(
                ["--space"],
                required=True,
                help=f"What to search: ranges (log: for a logarithmic scale) and values, such as {EXAMPLE}.",
            ),
            click.Option(
                ["--trials"],
                type=click.IntRange(1, MOST_TRIALS),
                help=f"How many; more of them go on with a sweep.  [default: {TRIALS}, or all points of a grid]",
            ),
            click.Option(
                ["--sampler"],
                type=click.Choice(SAMPLERS),
                help="tpe learns from earlier trials; grid tries every combination of values.  [default: tpe]",
            ),
            click.Option(
                ["--pruner"],
                type=click.Choice(PRUNERS),
                help="Stops bad trials early, by their validation accuracy.  [default: hyperband]",
            ),
            *SPREAD_OPTIONS,
            *config_options(None),
        ],
        partial(sweep, catalog),
    )


def sweep(
    catalog: Sequence[Experiment | Study],
    run: ToolRun,
    experiment: str,
    space: str,
    trials: int | None = None,
    sampler: str = "tpe",
    pruner: str = "hyperband",
    workers: int | None = None,
    ray: str | None = None,
    **fixed: Any,
) -> list[str]:
    """Do the trials that are not done yet as children of ``run``, log what they found; return the lines to print.

    Raises:
        TP1Error: Something is wrong with the arguments or the data (before the first trial), a trial failed or none
            finished (after all others).
    """
    spread = Spread(workers, ray)
    chosen = _experiment(experiment, catalog)
    from tp1.sweeps.sweep import make_search, run_search  # imported late, because they import torch and optuna
    from tp1.sweeps.sweep_files import describe_sweep, summary, sweep_files, sweep_metrics

    search = make_search(chosen, fixed, space, trials, sampler, pruner, run.command)
    run.rename(f"sweep-{chosen.name}")
    run.tag(SWEEP_TAG, search.digest)
    run.log_parameters(
        {"experiment": chosen.name, "space": search.space, "trials": search.trials, "sampler": sampler}
        | {"pruner": pruner, "epochs": search.base.epochs, "seed": search.base.seed}
        | {"dataset": search.base.dataset}
    )
    found = run_search(search, run, partial(as_command, chosen.name), one_line, spread)
    best = found.trials.best
    lines = summary(search.space, found.trials, found.importances)
    best_command = None
    if best is not None:
        again = {name: value for name, value in fixed.items() if name != "seed"}
        values = {one.name: one.read(best.params[one.name]) for one in search.space.dimensions}
        best_command = as_command(chosen.name, {**again, **values, "seeds": SEEDS})
    run.log_files(sweep_files(search.space, found.trials, found.importances))
    run.log_metrics(sweep_metrics(found.trials), len(found.trials.trials))
    run.log_note(describe_sweep(chosen.label, lines, best_command, run.command))
    for line in lines:
        click.echo(line)
    if best_command is not None:
        click.echo(f"Train the best with several seeds: {best_command}")
    if (failed := failures(found.outcomes)) is not None:
        raise TP1Error(failed)
    if best is None:
        raise TP1Error("no trial was finished: all were stopped early. Choose other ranges, such as lower ones.")
    return []


def _experiment(name: str, catalog: Sequence[Experiment | Study]) -> Experiment:
    found = named(name, catalog)
    if len(found) > 1 or found[0].configuration:
        raise TP1Error(
            f"{name} is a study of fixed configurations: sweep its experiment {found[0].name}, with parameters such as "
            "dropout=0.5."
        )
    return found[0]
