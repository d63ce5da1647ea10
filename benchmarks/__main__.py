"""Measure, and write docs/BENCHMARKS.md with a figure.

    make bench                                            # about half an hour on two cores
    python -m benchmarks --only epochs --share 0.1        # a part of it, printed alone

All ways of doing the same take turns in one process. Measure on a machine that does nothing else. The peers need the
dependency group `bench`.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks import epochs, keeping, many_runs, prediction, starting
from benchmarks.frame import Table, surroundings

PROJECT = Path(__file__).resolve().parent.parent
PARTS: dict[str, Callable[[argparse.Namespace, Path], list[Table]]] = {
    "epochs": lambda options, folder: epochs.tables(options.share, options.rounds, folder),
    "starting": lambda options, folder: [starting.table(options.rounds, folder)],
    "keeping": lambda options, folder: [keeping.table(options.rounds, folder)],
    "prediction": lambda options, folder: prediction.tables(options.images, options.rounds, folder),
    "compare": lambda options, folder: [many_runs.table(options.runs, options.rounds, folder)],
}


def figure(tables: Sequence[Table]) -> Figure:
    """Bars: how many times the time of the first row each way takes, with the spread over the rounds."""
    with mpl.rc_context({"font.size": 9, "svg.hashsalt": "tp1"}):
        drawn = Figure(figsize=(8, 1 + 0.35 * sum(len(table.rows) for table in tables)), layout="constrained")
        axes = drawn.subplots(len(tables), 1, squeeze=False, height_ratios=[len(table.rows) for table in tables])
        for ax, table in zip(axes[:, 0], tables, strict=True):
            names = [row.name for row in table.rows]
            middle = [median(row.ratios) if row.ratios else 1.0 for row in table.rows]
            low = [median(row.ratios) - min(row.ratios) if row.ratios else 0 for row in table.rows]
            high = [max(row.ratios) - median(row.ratios) if row.ratios else 0 for row in table.rows]
            ax.barh(names, middle, xerr=[low, high], color=["#1f77b4"] + ["#b0b0b0"] * (len(names) - 1), height=0.7)
            for place, (value, above) in enumerate(zip(middle, high, strict=True)):
                ax.text(value + above, place, f"  {value:.2f}", va="center")
            ax.invert_yaxis()
            ax.set_title(table.title, loc="left")
            ax.set_xlim(0, 1.15 * max(m + h for m, h in zip(middle, high, strict=True)))
            ax.spines[["top", "right"]].set_visible(False)
        axes[-1, 0].set_xlabel("times this project's seconds")
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; nothing is written")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.2, help="of an epoch's images")
    parser.add_argument("--images", type=int, default=2_000, help="to predict")
    parser.add_argument("--runs", type=int, default=10_000, help="to compare")
    options = parser.parse_args()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_DISABLE_SYSTEM_METRICS", "true")
    where = surroundings()
    found: dict[str, list[Table]] = {}
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)  # MLflow writes artifacts to the working directory
        for part in options.only or PARTS:
            found[part] = PARTS[part](options, Path(name))
            for table in found[part]:
                print(table.markdown(), flush=True)
        os.chdir(PROJECT)
    print(where)
    if options.only:
        return
    drawn = figure([table for table in found["epochs"] if len(table.rows) > 1])
    drawn.savefig(PROJECT / "docs" / "benchmarks.svg", metadata={"Date": None})
    text = "\n".join(table.markdown() for tables in found.values() for table in tables)
    (PROJECT / "docs" / "BENCHMARKS.md").write_text(
        f"# Benchmarks\n\n`make bench`: {where} {options.rounds} rounds after one that warms up; all ways of doing the "
        f"same take turns in one process.\n\n![An epoch, side by side](benchmarks.svg)\n\n{text}",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
