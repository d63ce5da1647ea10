"""Reading and writing records: finished runs as small folders of JSON and parquet, kept beyond their tracking store.

A folder ``reference/<dataset>/<run name>/`` holds ``run.json`` (parameters, tags, data sets), ``metrics.json``
(histories) and the run's reports, predictions and configuration; the best ones also hold their model's weights
(:mod:`tp1.commands.reference_models`).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from tp1.base.errors import TP1Error, why
from tp1.base.folders import whole_folder
from tp1.report.run_figures import record_figures
from tp1.store.reader import RunReader
from tp1.store.records import RunRecord, make_record, optional_files, record_files
from tp1.store.runs import REFERENCE_TAG, TRIAL_TAG
from tp1.tracking.record_runs import write_record

FORMAT = 1
RECORD = "run.json"
METRICS = "metrics.json"
WEIGHTS, PROBE = "weights.safetensors", "probe.npz"  # the files of the model, where a record has one


def export_run(
    run_id: str,
    folder: Path,
    *,
    replace: bool = False,
    model_files: Callable[[RunRecord], Mapping[str, bytes]] | None = None,
) -> Path:
    """Write the record of a finished run below ``folder``; return the record's folder.

    The user's home directory is written as ``~``, because records are meant to be published.

    Args:
        replace: Whether to overwrite another run's record of the same name.
        model_files: Returns the files of the model; None: the record has those that an earlier record of the run has.

    Raises:
        TP1Error: The run cannot be read completely, the folder cannot be written, or it holds another run's record of
            the same name and ``replace`` is False.
    """
    record = make_record(run_id)
    target = folder / _safe(record.tags["tp1.dataset"]) / _safe(record.name)
    there = None
    try:
        there = read_record(target).run_id if (target / RECORD).is_file() else None
    except TP1Error:
        if not replace:
            raise
    if there not in (None, run_id) and not replace:
        raise TP1Error(f"{target} holds run {there}: move it away, or write over it with --replace.")
    further = model_files(record) if model_files else read_model_files(target) if there == run_id else {}
    facts = {key: value for key, value in asdict(record).items() if key not in ("files", "metrics")}
    try:
        with whole_folder(target) as partial:
            text = json.dumps({"format": FORMAT, **facts}, indent=1, sort_keys=True) + "\n"
            (partial / RECORD).write_text(_without_home(text), encoding="utf-8")
            (partial / METRICS).write_text(_dump_metrics(record.metrics), encoding="utf-8")
            for name, content in record.files.items():
                is_text = name.endswith((".json", ".txt", ".csv"))
                (partial / name).write_bytes(_without_home(content.decode()).encode() if is_text else content)
            for name, content in further.items():
                (partial / name).write_bytes(content)
    except OSError as error:
        raise TP1Error(f"cannot write the record to {target}: {error.strerror}.") from error
    return target


def import_runs(folder: Path) -> Iterator[tuple[Path, RunRecord, str, bool]]:
    """Load every record below ``folder`` into the tracking store, unless the store has the run already.

    Yields:
        The record's folder, the record, the id of its run in the store, and whether that is new.

    Raises:
        TP1Error: There are no records, or a record cannot be read.
    """
    found = sorted(folder.rglob(RECORD))
    if not found:
        raise TP1Error(f"no records ({RECORD}) below {folder}: check the folder.")
    reader = RunReader()
    for path in found:
        record = read_record(path.parent)
        if (run_id := reader.find_copy(record.run_id)) is not None:
            yield path.parent, record, run_id, False
        else:
            # The UI has columns for user and source, which then show that the run is a reference.
            tags = {"mlflow.user": "reference", "mlflow.source.name": str(path.parent), REFERENCE_TAG: record.run_id}
            # Of trials there may be hundreds: drawing is most of the time, and MLflow shows their curves.
            figures = {} if TRIAL_TAG in record.tags else record_figures(record)
            yield path.parent, record, write_record(record, figures, tags), True


def read_record(folder: Path) -> RunRecord:
    """Read the record in a folder.

    Raises:
        TP1Error: The record is incomplete or damaged, or has another format.
    """
    try:
        facts = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if facts.pop("format") != FORMAT:
            raise TP1Error(f"record {folder} has another format than {FORMAT}: update this program.")
        _check_facts(**facts)
        metrics = {
            key: [(int(step), int(time), float(value)) for step, time, value in series]
            for key, series in json.loads((folder / METRICS).read_text(encoding="utf-8")).items()
        }
        further = (name for name in optional_files(facts["tags"]) if (folder / name).is_file())
        names = (*record_files(facts["tags"]), *further)
        return RunRecord(**facts, metrics=metrics, files={name: (folder / name).read_bytes() for name in names})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TP1Error(f"cannot read the record {folder}: {why(error)}. Restore it from version control.") from error


def read_model_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a record's model; empty if it has none.

    Raises:
        TP1Error: One of the two is missing, or cannot be read.
    """
    if not (folder / WEIGHTS).exists() and not (folder / PROBE).exists():
        return {}
    try:
        return {name: (folder / name).read_bytes() for name in (WEIGHTS, PROBE)}
    except OSError as error:
        raise TP1Error(
            f"cannot read the model beside the record {folder}: {error}. Restore it from version control."
        ) from error


def _check_facts(
    run_id: str, name: str, start_time: int, end_time: int, params: object, tags: object, datasets: list[object]
) -> None:
    """Raise ValueError unless MLflow can store the facts of a record."""
    texts = [run_id, name]
    for mapping in (params, tags, *datasets):
        if not isinstance(mapping, dict):
            raise ValueError(f"{mapping!r} is no mapping")
        texts += [text for pair in mapping.items() for text in pair if text is not None]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(t, int) for t in (start_time, end_time)):
        raise ValueError("its texts must be texts, and its times whole numbers")
    if "" in texts[:2] or "\0" in "".join(texts):
        raise ValueError("it has an empty name, or a NUL character")


def _dump_metrics(metrics: dict[str, list[tuple[int, int, float]]]) -> str:
    """Return the metrics as JSON with one metric per line."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(series, separators=(',', ':'))}" for key, series in sorted(metrics.items())
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _without_home(text: str) -> str:
    home = str(Path.home())
    return text if home == "/" else text.replace(f"{home}/", "~/")


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name).lstrip(".") or "_"
