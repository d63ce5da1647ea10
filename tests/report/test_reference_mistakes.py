"""The surest mistakes in the reference belong to the predictions beside them."""

import pandas as pd

from tests.conftest import PROJECT
from tp1.report.mistakes import FILE, read_mistakes


def test_they_are_the_surest_of_the_predictions():
    found = sorted(PROJECT.glob(f"reference/*/*/{FILE}"))
    assert found
    for path in found:
        table = pd.read_parquet(path.with_name("predictions.parquet"))
        sure = table.iloc[:, 3:].max(axis=1)[table["true"] != table["predicted"]]
        mistakes = read_mistakes(path.read_bytes())
        surest = [round(float(value), 6) for value in sure.sort_values(ascending=False)[: len(mistakes)]]
        assert [round(one.probability, 6) for one in mistakes] == surest, path
        rows = table.set_index("index").loc[[one.index for one in mistakes]]
        classes = list(table.columns[3:])
        assert [classes[row] for row in rows["predicted"]] == [one.predicted for one in mistakes], path
