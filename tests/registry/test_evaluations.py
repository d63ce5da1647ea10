"""Evaluations side by side: which are shown, in the comparison, the report and a model's card."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

from tests.conftest import invoke
from tests.support.made_runs import make_run
from tp1.data.corruptions import CORRUPTIONS
from tp1.registry.evaluations import find_evaluations
from tp1.registry.versions import make_champion, register
from tp1.report.evaluations import Evaluated, evaluations_section, is_examined, newest_of_each, with_examined
from tp1.report.page import Page
from tp1.report.page_markdown import to_markdown


def metrics_of(accuracy: float, robustness: float | None = None) -> dict[str, float]:
    found = {"eval/accuracy": accuracy, "eval/accuracy_low": accuracy - 0.01, "eval/accuracy_high": accuracy + 0.01}
    found |= {"eval/ece": 0.05, "eval/brier": 0.3}
    if robustness is not None:
        kinds = {f"eval/corruption/{kind}": robustness - (kind == "shift") / 10 for kind in CORRUPTIONS}
        found |= {"eval/corruption_accuracy": robustness} | kinds
    return found


def made(model: str, accuracy: float, robustness: float | None = None, start: int = 0, on: str = "data") -> Evaluated:
    return Evaluated(model, model, "cifar10", on, "split", "test", 100, start, metrics_of(accuracy, robustness))


def test_the_newest_of_each_model_on_the_same_images_is_shown():
    first, harder, later = made("a", 0.8, start=1), made("a", 0.8, 0.6, start=2), made("a", 0.8, start=3)
    better, elsewhere = made("b", 0.9, start=1), made("a", 0.7, on="other")
    found = newest_of_each([later, elsewhere, better, harder, first])
    assert found == [better, harder, elsewhere]  # the later one has no harder images


@pytest.mark.parametrize(
    ("language", "champion", "part", "shift"),
    [("en", "champion", "test", "shift"), ("pt", "campeão", "teste", "deslocação")],
)
def test_a_section_shows_them(language, champion, part, shift):
    rows = [replace(made("<b>", 0.9, 0.61234), champion=True), made("b", 0.8)]
    text, _ = to_markdown(Page("x", language, [], [evaluations_section(rows, language)]), ".")
    figures = "100 | 0.9000 | 0.8900–0.9100 | 0.0500 | 0.3000 | 0.6123"
    assert rf"| \<b\> ({champion}) | cifar10 | {part} | {figures} | {shift} |" in text
    assert f"| b | cifar10 | {part} | 100 | 0.8000 | 0.7900–0.8100 | 0.0500 | 0.3000 | – | – |" in text


def test_a_card_shows_the_model_beside_the_best_other_one():
    card = "# tp1-cifar10 version 1\n\n## Measured\n\nMuch.\n\n## Training\n\nLong.\n\n## Promotion\n\nYes.\n"
    own, others = made("a", 0.8, 0.6), [made("b", 0.85), made("c", 0.9), made("d", 0.95, on="other"), made("a", 0.8)]
    shown = with_examined(card, own, others)
    assert [line for line in shown.splitlines() if line.startswith("## ")] == [
        *("## Measured", "## Examined", "## Training", "## Promotion"),
    ]
    rows = [line for line in shown.splitlines() if line.startswith("| ")][1:]
    assert rows == [
        "| this model | 0.8000 | 0.7900–0.8100 | 0.0500 | 0.3000 | 0.6000 | shift |",
        "| best other: c | 0.9000 | 0.8900–0.9100 | 0.0500 | 0.3000 | – | – |",
    ]
    again = with_examined(shown, made("a", 0.81, 0.6), [])
    assert again.count("## Examined") == 1
    assert "| this model | 0.8100 |" in again
    assert "best other" not in again
    assert "## Training\n\nLong.\n\n## Promotion\n\nYes.\n" in again
    assert is_examined(again)
    assert not is_examined(again.partition("| this model")[0])  # as it may be cut off
    assert with_examined("Bare.", own, []).startswith("Bare.\n\n## Examined\n")


def track(trained_by: str, model_id: str, accuracy: float, status: str = "FINISHED", without: str = "") -> None:
    """A run of ``evaluate`` as it leaves it, without its files."""
    client = MlflowClient()
    run = client.create_run("0")
    tags = {
        "tp1.experiment": "evaluate",
        "tp1.dataset": "cifar10",
        "tp1.evaluated": f"model {model_id}",
        "tp1.evaluated_program": model_id,
        "tp1.evaluated_model": model_id,
        "tp1.evaluated_name": trained_by,
        "tp1.evaluated_part": "test",
        "tp1.evaluated_images": "100",
    }
    metrics = [Metric(name, value, 0, 0) for name, value in metrics_of(accuracy, 0.5).items() if name != without]
    client.log_batch(run.info.run_id, metrics, tags=[RunTag(*tag) for tag in tags.items()])
    client.set_terminated(run.info.run_id, status)


@pytest.fixture
def tracked(store) -> None:
    """Two models of one run, of which one is champion; and evaluations that failed or are not whole."""
    run_id = make_run("cnnv3")
    ids = [MlflowClient().create_logged_model("0", name="model").model_id for _ in range(2)]
    make_champion(register("tp1-cifar10", run_id, ids[0]))
    track("cnnv3-s0", ids[0], 0.8)
    track("", ids[1], 0.85)
    track("cnnv3-s0", "failed", 0.9, status="FAILED")
    track("cnnv3-s0", "damaged", 0.9, without="eval/ece")


def test_they_are_found_in_a_store_and_compared(tracked):
    found = find_evaluations()
    assert [(one.metrics["eval/accuracy"], one.champion) for one in found] == [(0.85, False), (0.8, True)]
    assert found[0].model.startswith("model m-")
    assert found[1].model.startswith("cnnv3-s0, model m-")
    assert find_evaluations(dataset="other") == []
    result = invoke("compare", "to=here")
    assert result.exit_code == 0, result.output
    text = Path("here/compare.md").read_text(encoding="utf-8")
    assert "## Stored models examined" in text
    assert f"| cnnv3-s0, model {found[1].program} (champion) | cifar10 | test | 100 | 0.8000 |" in text


@pytest.mark.long
def test_the_report_shows_them(tracked):
    result = invoke("report", "to=here", "language=pt")
    assert result.exit_code == 0, result.output
    text = Path("here/RESULTS.md").read_text(encoding="utf-8")
    assert text.index("(campeão) | cifar10 | teste | 100 | 0.8000") < text.index("## Como isto foi feito")
