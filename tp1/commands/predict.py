"""Predicted classes of images in files, folders and arrays, as a table, JSON or CSV, and as an HTML page.

Repeat: mlflow run . -e predict -P images=PATH -P model=models:/tp1-cifar10@champion
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import click

from tp1.base.errors import TP1Error
from tp1.base.folders import write_files
from tp1.base.names import is_file, is_folder, user_path
from tp1.commands.command import BadArguments, Command, take_launched_run
from tp1.commands.parameters import MODEL_HELP, as_command, given_values
from tp1.data.image_files import find_images, left_out
from tp1.registry.explaining import METHODS, Explainer
from tp1.registry.gallery import gallery_html
from tp1.registry.predictions import Predictions, as_csv, as_json, as_table, predict_images
from tp1.registry.predictor import is_stored, load_predictor
from tp1.report.terminal import print_table
from tp1.store.prepare import prepare_store
from tp1.tracking.tool_run import ToolRun, tool_run

ROWS = 500  # of the table, if it is printed
FORMATS = ("table", "json", "csv")


def predict_command() -> Command:
    """Return the command ``predict``."""
    return Command(
        "predict",
        callback=predict,
        help="Classes of images: a trained model on image files, folders and .npy arrays.",
        params=[
            click.Option(
                ["--images"],
                type=Paths(),
                required=True,
                multiple=True,
                help="Image files, folders and .npy arrays, uint8 (N, H, W, 3); with commas, or given several times.",
            ),
            click.Option(["--model"], required=True, help=MODEL_HELP),
            click.Option(["--top"], type=click.IntRange(1), default=3, show_default=True, help="Classes shown."),
            click.Option(["--format"], type=click.Choice(FORMATS), help="[default: by the suffix of to, else table]"),
            click.Option(["--to"], type=click.Path(path_type=Path, dir_okay=False), help="A file to write them to."),
            click.Option(
                ["--gallery"], type=click.Path(path_type=Path, dir_okay=False), help="A page to write, as HTML."
            ),
            click.Option(
                ["--explain"],
                type=click.Choice(METHODS),
                help="Show on that page what speaks for each class predicted.",
            ),
        ],
        on_bad_arguments=_on_bad_arguments,
    )


def predict(
    images: tuple[tuple[str, ...], ...],
    model: str,
    top: int,
    format: str | None,
    to: Path | None,
    gallery: Path | None,
    explain: str | None,
) -> None:
    """Predict and print or write the predictions; nothing else goes to standard output.

    Raises:
        TP1Error: The model or all images cannot be read, or some images cannot (raised last).
    """
    paths = tuple(path for several in images for path in several)
    given = {"images": paths, "model": model, "top": top, "format": format, "to": to, "gallery": gallery}
    with _launched(as_command("predict", given_values(given | {"explain": explain}))) as run:
        if explain is not None and gallery is None:
            raise TP1Error(f"explain={explain} draws on a page: give it a name with gallery=PAGE.html.")
        if is_stored(model):
            prepare_store()
        found = find_images([user_path(path) for path in paths])  # before the model, which takes seconds to load
        predictor = load_predictor(model)
        explainer = Explainer(predictor, explain) if explain is not None else None
        predictions = predict_images(predictor, found)
        _show(predictions, top, format or _format_of(to), to)
        files = {"predictions.csv": as_csv(predictions, top)} if run else {}
        if gallery is not None:
            files["gallery.html"] = gallery_html(predictions, model, explainer)
            _write(gallery, files["gallery.html"], "gallery")
        notes = _notes(predictions, predictor.image_shape)
        if others := left_out([user_path(path) for path in paths]):
            notes.append(f"Left out: {others}.")
        for line in notes:
            click.echo(line, err=True)
        if run is not None:
            run.log_files(files)
            run.log_note("\n\n".join([f"**predict** with {model}.", *notes, f"    {run.command}"]))
        if (complaint := predictions.complaint()) is not None:
            raise TP1Error(complaint)


def _show(predictions: Predictions, top: int, format: str, to: Path | None) -> None:
    """Print the predictions, or write them to ``to``."""
    if format == "table" and to is None:
        print_table(as_table(predictions, top, ROWS))
        if (count := len(predictions.images)) > ROWS:
            click.echo(f"{ROWS} of {count:,} rows; to=FILE.csv and to=FILE.json have all.", err=True)
        return
    if format == "table":
        text = io.StringIO()
        with redirect_stdout(text):
            print_table(as_table(predictions, top))
        content = text.getvalue().encode()
    else:
        content = as_json(predictions, top) if format == "json" else as_csv(predictions, top)
    if to is None:
        click.echo(content, nl=False)
    else:
        _write(to, content, "to")


def _notes(predictions: Predictions, shape: tuple[int, int, int]) -> list[str]:
    """Return notes on all predictions: how many images were resized, and the accuracy if it is known."""
    notes = []
    if (resized := predictions.resized) > 0:
        images = "1 image was" if resized == 1 else f"{resized:,} images were"
        notes.append(f"{images} resized to {shape[1]}x{shape[0]}.")
    if (accuracy := predictions.accuracy()) is not None:
        notes.append(f"{accuracy}.")
    return notes


@contextmanager
def _launched(command: str) -> Iterator[ToolRun | None]:
    """Yield the run that ``mlflow run`` has started, or None; this command starts no run itself."""
    launched = take_launched_run()
    if launched is None:
        yield None
        return
    prepare_store()
    with tool_run("predict", command, launched=launched) as run:
        yield run


def _write(path: Path, content: bytes, option: str) -> None:
    try:
        write_files(path.parent, {path.name: content})
    except TP1Error as error:
        raise TP1Error(str(error).replace("with to=.", f"with {option}=.")) from error
    click.echo(f"Written to {path}", err=True)


def _format_of(to: Path | None) -> str:
    """Return the format by the file's suffix; ``table`` for any other suffix or without a file."""
    suffix = to.suffix.lower().removeprefix(".") if to is not None else ""
    return suffix if suffix in FORMATS else "table"


def _on_bad_arguments(message: str) -> None:
    with suppress(BadArguments), _launched(""):
        raise BadArguments(message)


class Paths(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """Paths separated by commas; if the whole text is the path of a file or folder, it is that one path."""

    name = "path,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        path = user_path(value)  # several together may be too long for pathlib's own checks
        parts = (value,) if is_file(path) or is_folder(path) else tuple(value.split(","))
        if not all(parts):
            self.fail(f"{value!r} has an empty path in it.", param, ctx)
        return parts
