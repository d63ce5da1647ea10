"""What a run of several runs keeps of them: mean and standard deviation over seeds as metrics, and a table."""

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from tp1.base.progress import say
from tp1.experiment import Experiment
from tp1.report.comparison import group, newest, unique_label
from tp1.report.tables import summary_table
from tp1.report.texts import TEXTS
from tp1.store.reader import RunReader
from tp1.tracking.tool_run import ToolRun

TABLE = "results.json"  # as MLflow's interface shows a table
SUMMARISED = ("test/accuracy", "test/f1_macro", "test/loss", "best/val_accuracy", "best/val_loss")


def log_results(parent: ToolRun, run_ids: Iterable[str | None], experiments: Sequence[Experiment]) -> None:
    """Log the mean and the standard deviation of finished runs over their seeds to ``parent``, and a table of them.

    The metrics are ``mean/test/accuracy``, ``sd/test/accuracy`` and so on, and ``n``; of several experiments each has
    its name at the end: ``mean/test/accuracy/cnnv3-c2``. Nothing is logged if none of the runs is a finished training.

    If the runs of an experiment are not all of the same data and weights, there is no mean of them.

    Args:
        run_ids: Of the runs, with seeds of their own; None for a run that is not finished.
        experiments: Those of the runs.
    """
    runs = RunReader().find_finished([run_id for run_id in run_ids if run_id is not None])
    known = {(one.name, one.configuration): one for one in experiments}
    groups = group(newest(runs)[0], known)
    if not groups:
        return
    metrics: dict[str, float] = {}
    rows_of = Counter((one.runs[0].experiment, one.runs[0].configuration) for one in groups)
    for one in groups:
        name = one.runs[0].experiment, one.runs[0].configuration
        if rows_of[name] > 1:
            say(
                f"{unique_label(one, groups)}: its seeds are not all of the same data or weights, so no mean is logged."
            )
            continue
        label = known[name].label
        ending = f"/{label}" if len(experiments) > 1 else ""
        metrics[f"n{ending}"] = len(one.runs)
        for metric in SUMMARISED:
            metrics[f"mean/{metric}{ending}"] = one.mean(metric)
            if (sd := one.sd(metric)) is not None:
                metrics[f"sd/{metric}{ending}"] = sd
    parent.log_metrics(metrics, step=0)
    table = summary_table(groups, TEXTS["en"], times=True, labels=[unique_label(one, groups) for one in groups])
    rows = [[cell if isinstance(cell, str) else cell.text for cell in row] for row in table.rows]
    parent.log_table(pd.DataFrame(rows, columns=list(table.columns)), TABLE)
