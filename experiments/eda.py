"""A first look at a data set: sample images, class distribution, channel statistics (report 1.1, figures 1, 2, 10).

Repeat: mlflow run . -e eda
"""

from dataclasses import replace
from pathlib import Path

from tp1.commands.cli import config_options, tracked_command
from tp1.config import TrainConfig
from tp1.data.dataset import load_data
from tp1.report.eda import explore
from tp1.tracking.tool_run import log_note, log_parameters, name_run

DEFAULTS = TrainConfig(dataset="cifar10")


def look(
    command: str,
    dataset: str = DEFAULTS.dataset,
    data_dir: Path | None = None,
    image_size: int | None = None,
    seed: int = DEFAULTS.seed,
) -> list[str]:
    """Log figures 1 and 2 and the channel statistics of a data set."""
    config = replace(DEFAULTS, dataset=dataset, data_dir=data_dir, image_size=image_size, seed=seed)
    given = {"dataset": dataset, "data_dir": data_dir, "image_size": image_size, "seed": seed}
    log_parameters({name: str(value) for name, value in given.items() if value is not None})
    data = load_data(config.dataset, config.data_dir, config.image_size)
    name_run(f"eda-{data.name}")
    log_note(f"**eda** of {data.name}: sample images, class distribution, channel statistics.\n\n    {command}\n")
    return explore(data, seed).splitlines()


command = tracked_command(
    "eda",
    "Sample images, class distribution and channel statistics of a data set. Section 1.1 of the report.",
    config_options(DEFAULTS, ("dataset", "data_dir", "image_size", "seed")),
    look,
)

if __name__ == "__main__":
    command()
