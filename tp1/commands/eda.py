"""A first look at a data set: samples, classes, channel statistics, files (report 1.1, figures 1, 2, 10).

Repeat: mlflow run . -e eda
"""

from dataclasses import replace
from pathlib import Path

from tp1.base.progress import say
from tp1.commands.command import Command
from tp1.commands.parameters import config_options
from tp1.commands.tool import tool_command
from tp1.config import TrainConfig
from tp1.data.cache import LargeImagesError, MixedSizesError
from tp1.data.cache_folder import cache_dir
from tp1.data.dataset import ImageData, load_data
from tp1.data.dataset import data_dir as find_data_dir
from tp1.data.image_folder import ImageFolder
from tp1.data.sources import find_source
from tp1.data.survey import survey_folder
from tp1.report.eda import explore, look_files
from tp1.report.folder_look import copies_files, copies_lines, copies_table, survey_files, survey_lines
from tp1.report.markdown import escape_markdown, indented
from tp1.tracking.tool_run import ToolRun

DEFAULTS = TrainConfig(dataset="cifar10")
SIDE = 128  # pixels to which images that differ in size are brought


def eda_command() -> Command:
    """Return the command ``eda``."""
    return tool_command(
        "eda",
        "Samples, class distribution, channel statistics, files and sizes of a data set. Section 1.1 of the report.",
        config_options(DEFAULTS, ("dataset", "data_dir", "image_size", "seed", "test_from")),
        look_at,
    )


def look_at(
    run: ToolRun,
    dataset: str = DEFAULTS.dataset,
    data_dir: Path | None = None,
    image_size: int | None = None,
    seed: int = DEFAULTS.seed,
    test_from: str = DEFAULTS.test_from,
) -> list[str]:
    """Log sample images, class distribution and channel statistics of a data set to ``run``; return lines to print."""
    config = replace(
        DEFAULTS, dataset=dataset, data_dir=data_dir, image_size=image_size, seed=seed, test_from=test_from
    )
    given = {"dataset": dataset, "data_dir": data_dir, "image_size": image_size, "seed": seed, "test_from": test_from}
    run.log_parameters({name: value for name, value in given.items() if value is not None})
    lines: list[str] = []
    source = find_source(dataset, find_data_dir(data_dir))
    if isinstance(source, ImageFolder):  # first, so that this is there whatever then stands in the way
        survey = survey_folder(source, cache_dir())
        run.log_files(survey_files(survey))
        lines += survey_lines(survey)
        for line in lines:
            say(line)
    data = _load(config)
    if note := data.reading.cut_note():
        say(note)
    run.rename(f"eda-{data.name}")
    run.log_note(
        f"**eda** of {escape_markdown(data.name)}: samples, class distribution, channel statistics"
        f"{', files and sizes' if lines else ''}.\n\n{indented(run.command)}\n"
    )
    look, copies = explore(data, seed), copies_table(data)
    run.log_data(data)
    run.log_files({**look_files(look), **copies_files(copies)})
    return [*copies_lines(copies), *str(look).splitlines()]


def _load(config: TrainConfig) -> ImageData:
    """Load what can be read; images that need a size get :data:`SIDE`, if none is given."""
    reading = config.reading | {"skip_broken": "yes"}
    try:
        return load_data(config.dataset, config.data_dir, config.image_size, **reading)
    except (MixedSizesError, LargeImagesError):
        if config.image_size is not None:
            raise
        say(f"Training needs an image_size=, since the images differ in size or are large; they are shown at {SIDE}.")
        return load_data(config.dataset, config.data_dir, SIDE, **reading)
