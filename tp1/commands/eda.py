"""A first look at a data set: sample images, class distribution, channel statistics (report 1.1, figures 1, 2, 10).

Repeat: mlflow run . -e eda
"""

from dataclasses import replace
from pathlib import Path

from tp1.commands.command import Command
from tp1.commands.parameters import config_options
from tp1.commands.tool import tool_command
from tp1.config import TrainConfig
from tp1.data.dataset import load_data
from tp1.report.eda import explore, look_files
from tp1.tracking.tool_run import ToolRun

DEFAULTS = TrainConfig(dataset="cifar10")


def eda_command() -> Command:
    """Return the command ``eda``."""
    return tool_command(
        "eda",
        "Sample images, class distribution and channel statistics of a data set. Section 1.1 of the report.",
        config_options(DEFAULTS, ("dataset", "data_dir", "image_size", "seed")),
        look_at,
    )


def look_at(
    run: ToolRun,
    dataset: str = DEFAULTS.dataset,
    data_dir: Path | None = None,
    image_size: int | None = None,
    seed: int = DEFAULTS.seed,
) -> list[str]:
    """Log sample images, class distribution and channel statistics of a data set to ``run``; return lines to print."""
    config = replace(DEFAULTS, dataset=dataset, data_dir=data_dir, image_size=image_size, seed=seed)
    given = {"dataset": dataset, "data_dir": data_dir, "image_size": image_size, "seed": seed}
    run.log_parameters({name: value for name, value in given.items() if value is not None})
    data = load_data(config.dataset, config.data_dir, config.image_size)
    run.rename(f"eda-{data.name}")
    run.log_note(
        f"**eda** of {data.name}: sample images, class distribution, channel statistics.\n\n    {run.command}\n"
    )
    look = explore(data, seed)
    run.log_data(data)
    run.log_files(look_files(look))
    return str(look).splitlines()
