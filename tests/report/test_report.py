"""`compare` and `report` as commands, on a real store; the page in a real browser."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset as DatasetEntity
from mlflow.entities import DatasetInput, InputTag
from PIL import Image

from tests.conftest import PROJECT, all_runs, copy_database, invoke
from tests.support.browser import CHROMIUM, FLAGS
from tests.support.catalog import catalog
from tests.support.made_runs import make_run
from tp1.report.texts import TEXTS


def make_look(dataset: str) -> None:
    """A finished ``eda`` run."""
    client = MlflowClient()
    run = client.create_run("0", tags={"tp1.experiment": "eda", "tp1.dataset": dataset})
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), "teal").save(buffer, "png")
    Path("samples.png").write_bytes(buffer.getvalue())
    Path("class_distribution.csv").write_text("class,train,validation,test\ncat,5,1,2\ndog,6,1,2\n", encoding="utf-8")
    Path("channels.csv").write_text("channel,mean,std\nR,0.5,0.2\nG,0.4,0.2\nB,0.3,0.2\n", encoding="utf-8")
    for name in ("samples.png", "class_distribution.csv", "channels.csv"):
        client.log_artifact(run.info.run_id, name)
    client.set_terminated(run.info.run_id, "FINISHED")


@pytest.fixture(scope="module")
def filled(tmp_path_factory, empty_database) -> Path:
    """A store's database with runs in it; their artifacts lie beside it."""
    folder = tmp_path_factory.mktemp("filled")
    copy_database(empty_database, folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        make_look("cifar10")
        for seed in (0, 1):
            make_run("cnnv3", seed, accuracy=0.8 + 0.01 * seed)
            make_run("cnnv3-c1", seed, accuracy=0.83)
        make_run("cnnv2", accuracy=0.75, name="<script>alert(1)</script>", without=("mistakes.parquet",))
        make_run("cnn-base", epochs=3, without=("predictions.parquet",))
    return folder / "mlflow.db"


@pytest.fixture
def runs(store, filled) -> None:
    """A store of the test's own with these runs."""
    copy_database(filled, Path())


def last_run(name: str):
    return next(
        run for run in all_runs() if run.data.tags["tp1.experiment"] == name and "tp1.model" not in run.data.tags
    )


def test_compare_prints_logs_and_writes(runs, tmp_path):
    assert invoke("compare", "sort=test_balanced_accuracy").exit_code == 0
    result = invoke("compare", "sort=test_accuracy", "to=out")
    assert result.exit_code == 0, result.output
    assert re.search(
        r"cnnv3 +cifar10 +2 +0\.8050 ± 0\.0071 +0\.8 \(test\) +\+0\.0050 .* 0\.8050 ± 0\.0071 .* 0\.0001 +0\.5",
        result.output,
    )
    table = pd.read_csv("out/compare.csv")
    assert table["label"].tolist() == ["cnnv3-c1", "cnnv3", "cnn-base (epochs=3)", "cnnv2"]
    assert table.set_index("label").loc["cnnv3-c1", "published_remark"] == "good balance, least overfitting"
    assert "cnn-base (epochs=3)" in Path("out/compare.md").read_text(encoding="utf-8")
    assert Image.open("out/curves.png").size[0] > 1000
    run = last_run("compare")
    assert run.info.status == "FINISHED"
    logged = {item.path for item in MlflowClient().list_artifacts(run.info.run_id)}
    assert logged == {"compare.csv", "compare.md", "compare.html", "curves.png"}


def test_compare_against_is_on_the_same_images(runs):
    result = invoke("compare", "experiments=cnnv3", "against=cnnv2")
    assert result.exit_code == 0, result.output
    assert "cnnv3 (seed 0) against cnnv2 (seed 0): 0.8000 against 0.7500 on the same 60 test images" in result.output
    assert re.search(r"McNemar's exact test p (= 0\.\d{3}|< 0\.001)\.", result.output)
    html = mlflow.artifacts.load_text(f"{last_run('compare').info.artifact_uri}/compare.html")
    assert "recall, second" in html


@pytest.mark.long
def test_report_is_written_whole_and_the_same_again(runs):
    result = invoke("report", "to=a")
    assert result.exit_code == 0, result.output
    text = Path("a/RESULTS.md").read_text(encoding="utf-8")
    assert "mlflow run . -e fusion" in text  # what was not run yet
    assert "Not all configurations were run yet" in text
    assert "0.8050 ± 0.0071" in text
    assert {path.name for path in Path("a/figures").iterdir()} >= {
        "overview.svg",
        "cnnv3-curves.svg",
        "cifar10-samples.png",
    }
    assert all((Path("a") / target).is_file() for target in re.findall(r"\]\((figures/.*?)\)", text))
    invoke("report", "to=b")
    assert Path("b/RESULTS.md").read_text(encoding="utf-8") == text
    assert Path("b/report.html").read_text(encoding="utf-8") == Path("a/report.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_what_was_written_down_about_a_run_stands_in_the_report(runs):
    MlflowClient().set_tag(make_run("fusion"), "tp1.remark", "Another trunk, <b>see</b> below.")
    assert invoke("report", "to=a").exit_code == 0
    assert "Another trunk, \\<b\\>see\\</b\\> below." in Path("a/RESULTS.md").read_text(encoding="utf-8")
    assert "Another trunk, &lt;b&gt;see&lt;/b&gt; below." in Path("a/report.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_a_study_shows_remarks_seeds_and_its_other_runs(runs):
    MlflowClient().set_tag(make_run("cnnv3-c2"), "tp1.remark", "Beside another run.")
    make_run("cnnv3-c1", augment="flip-crop", accuracy=0.9)
    assert invoke("report", "to=a").exit_code == 0
    text = Path("a/RESULTS.md").read_text(encoding="utf-8")
    section = text[text.index("## 1.5 cnnv3-configs") : text.index("## 2.1 alexnet-scratch")]
    assert "Beside another run." in section
    assert "mlflow run . -e cnnv3-configs -P seeds=0,1\n" in section
    assert re.search(r"\| cnnv3-c1 \(augment=flip-crop\) \|.*\| 0\.9000 \|", section)


@pytest.mark.long
def test_the_report_of_another_store_opens_with_how_near_it_is(store, filled):
    """cnn-base's three epochs count as well: they stand there, and the table says so."""
    result = invoke("report", "to=a", f"tracking_uri=sqlite:///{filled}")
    assert result.exit_code == 0, result.output
    lead = Path("a/RESULTS.md").read_text(encoding="utf-8").splitlines()[2]
    differences = [0.69 - 0.8, 0.616 - 0.8, 0.58 - 0.8]  # cnn-base; then cnnv2, cnnv3 and cnnv3-c1
    differences += [0.9444 - 0.75, 0.7504 - 0.75, 0.88 - 0.805, 0.8 - 0.805, 0.8 - 0.805, 0.8313 - 0.83]
    mean = sum(map(abs, differences)) / len(differences)
    assert lead.startswith(f"Mean absolute difference between measured and published accuracy: {mean:.4f}, over 9 of ")
    assert "of the 17 accuracies that the report prints" in lead


@pytest.mark.long
def test_the_overview_says_what_lies_within_two_deviations(runs):
    profile = json.dumps({"features_shape": [5000, 32, 32, 3]})
    for run in all_runs():
        if run.info.run_name in ("cnnv3-s0", "cnnv3-c1-s0"):
            for part in ("validation", "testing"):
                data = DatasetEntity(f"cifar10-{part}", part, "local", "{}", profile=profile)
                given = DatasetInput(data, [InputTag("mlflow.data.context", part)])
                MlflowClient().log_inputs(run.info.run_id, [given])
    make_run("cnnv3-c4", accuracy=0.71)  # whose data sets are not known
    assert invoke("report", "to=a").exit_code == 0
    overview = Path("a/RESULTS.md").read_text(encoding="utf-8").partition("## 1.1")[0]
    answers = dict(re.findall(r"^\| (\S+) \|.*\| ([a-z ]+|–) \| [a-z ]+ \|(?: [\d.± ]+ \|)+$", overview, re.MULTILINE))
    assert answers["cnnv3"] == answers["cnnv3-c1"] == "yes"
    assert answers["cnnv3-c4"] == "not known"


@pytest.mark.long
def test_report_in_portuguese(runs):
    assert invoke("report", "to=a", "language=pt").exit_code == 0
    html = Path("a/report.html").read_text(encoding="utf-8")
    assert '<html lang="pt">' in html
    assert "exatidão de teste" in html
    assert "Ainda não foi executada" in html
    english = {text for text in texts_of(TEXTS["en"]) if len(text) > 12}
    assert [text for text in english & set(texts_of(TEXTS["pt"])) if text not in ("overfitting",)] == []
    english |= {entry.summary for entry in catalog()}
    assert [text for text in english if re.search(rf">{re.escape(text)}<", html)] == []


def texts_of(found) -> list[str]:
    return [found] if isinstance(found, str) else [text for value in found.values() for text in texts_of(value)]


def test_both_languages_have_the_same_texts():
    def names(found, above=()):
        for key, value in found.items():
            yield (*above, key)
            yield from names(value, (*above, key)) if isinstance(value, dict) else ()

    free = ("rule_text", "remarks", "states")  # what English has elsewhere, or as it is tracked
    english, portuguese = ({name for name in names(TEXTS[key]) if name[0] not in free} for key in ("en", "pt"))
    assert english == portuguese


def test_report_of_nothing_says_how_to_make_each_part(store):
    result = invoke("report", "to=a")
    assert result.exit_code == 0, result.output
    text = Path("a/RESULTS.md").read_text(encoding="utf-8")
    for name in ("cnn-base", "cnnv2", "cnnv3", "cnnv3-configs", "alexnet-scratch", "fusion", "eda -P dataset=eurosat"):
        assert f"mlflow run . -e {name}\n" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "experiments=fusion"), "no finished run of fusion in sqlite://"),
        (("compare", "dataset=nothing"), "on nothing in sqlite://"),
        (("compare", "since=2090-01-01"), "since 2090-01-01 00:00 UTC in sqlite://"),
        (("compare", "experiments=cnnv4"), "'cnnv4' is not known. Did you mean cnnv3?"),
        (("compare", "sort=beauty"), "sort=beauty: the table has no such column; it has experiment, "),
        (("compare", "against=fusion"), "no finished run of fusion in sqlite://"),
        (("compare", "against=cnnv9"), "there is no experiment 'cnnv9'"),
        (("compare", "to=blocked/out"), "cannot write to blocked/out: Not a directory. Choose another with to=."),
        (("report", "to=blocked/out"), "cannot write to blocked/out"),
        (("compare", "tracking_uri=sqlite:///mistyped.db"), "/mistyped.db: check the address."),
        (("report", "tracking_uri=sqlite:///mistyped.db"), "/mistyped.db: check the address."),
        (("compare", "tracking_uri=http://127.0.0.1:9"), "the tracking server at http://127.0.0.1:9 does not answer"),
        (("report", "language=fr"), "'fr' is not one of 'en', 'pt'"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(runs, arguments, message):
    Path("blocked").write_text("", encoding="utf-8")
    result = invoke(*arguments)
    assert result.exit_code != 0
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_no_run_says_which_command_makes_one(store):
    result = invoke("compare", "experiments=fusion,cnnv3-configs")
    assert "make one with mlflow run . -e fusion or mlflow run . -e cnnv3-configs." in result.stderr


def test_a_half_logged_run_is_left_out_and_said(runs):
    broken = make_run("fusion", without=("test/f1_macro",))
    result = invoke("compare", "to=out")
    assert result.exit_code == 1
    assert f"fusion-s0 ({broken}) lacks test/f1_macro" in result.stderr
    assert "fusion" not in pd.read_csv("out/compare.csv")["experiment"].tolist()


def test_a_run_without_predictions_is_said(runs):
    lost = make_run("cnnv2", accuracy=0.7, without=("predictions.parquet",), start=1_800_000_000_000)
    result = invoke("compare", "experiments=cnnv3", "against=cnnv2")
    assert result.exit_code == 1
    assert f"run {lost} has no artifact predictions.parquet" in result.stderr


def test_pairs_are_of_runs_on_the_same_images(runs):
    """A newer run on another split neither hides the older one, nor is compared with what it does not share."""
    make_run("cnnv2", split="another", start=1_800_000_000_000)
    make_run("fusion", split="a third")
    result = invoke("compare", "experiments=cnnv2,cnnv3,fusion", "against=cnnv2")
    assert result.exit_code == 0, result.output
    said = "cnnv3 (seed 0) against cnnv2 [split] (seed 0): 0.8000 against 0.7500 on the same 60 test images"
    assert said in result.output
    assert re.search(r"^fusion.*: no run of cnnv2 was tested on the same images\.$", result.output, re.MULTILINE)
    assert "cnnv2 [split] (seed 0) against" not in result.output
    refused = invoke("compare", "experiments=cnnv3", "against=fusion")
    assert refused.exit_code == 1
    assert "there is nothing to compare with fusion" in refused.stderr
    assert "no other run was tested on the same images (data and split digests data a third)." in refused.stderr


def test_a_baseline_may_be_older_and_its_faults_are_said(runs):
    make_run("cnnv3", seed=1, accuracy=0.9, start=1_800_000_000_000)
    result = invoke("compare", "against=cnnv2", "since=2026-01-01")
    assert "cnnv3 (seed 1) against cnnv2 (seed 0)" in result.output
    result = invoke("compare", "experiments=cnnv3", "against=cnnv3", "since=2026-01-01")
    assert "there is nothing to compare with cnnv3" in result.stderr  # and not with itself
    broken = make_run("cnnv2", seed=1, without=("test/f1_macro",))
    result = invoke("compare", "experiments=cnnv3", "against=cnnv2")
    assert result.exit_code == 1
    assert f"cnnv2-s1 ({broken}) lacks test/f1_macro" in result.stderr


@pytest.mark.long
def test_a_report_goes_by_a_record_imported_from_its_own_folder(runs, monkeypatch):
    run_id = make_run("fusion")
    MlflowClient().set_tag(run_id, "tp1.reference", "0" * 32)
    MlflowClient().set_tag(run_id, "mlflow.source.name", ".")
    assert invoke("report", "to=a").exit_code == 0


def test_runs_are_found_in_all_mlflow_experiments(store):
    make_run("fusion", mlflow_experiment=mlflow.create_experiment("elsewhere"))
    make_run("cnnv2")
    result = invoke("compare")
    assert "fusion" in result.output
    assert "cnnv2" in result.output


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_in_a_browser(runs):
    """No console error, no request, every image there, every section there, sorting, no sideways scrolling."""
    from playwright.sync_api import sync_playwright

    assert invoke("report", "to=a").exit_code == 0
    address = Path("a/report.html").resolve().as_uri()
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for scheme in ("light", "dark"):
            page = browser.new_context(viewport={"width": 400, "height": 800}, color_scheme=scheme).new_page()
            page.on("console", lambda message: faults.append(message.text))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("request", lambda request: faults.append(request.url) if request.url != address else None)
            page.goto(address)
            assert page.evaluate("document.documentElement.scrollWidth") <= 400
            assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
            page.emulate_media(media="print")
            assert page.evaluate("[...document.querySelectorAll('.static svg')].every(one => one.getBBox().width > 0)")
            page.emulate_media(media="screen")
        sections = page.evaluate("[...document.querySelectorAll('section')].map(one => one.id)")
        assert sections == [
            *("overview", "data-cifar10", "cnn-base", "cnnv2", "cnnv3", "cnnv3-configs", "data-eurosat"),
            *(
                "alexnet-scratch",
                "mobilenetv2-scratch",
                "alexnet-pretrained",
                "mobilenetv2-pretrained",
                "fusion",
                "airnet",
                "landnet",
                "made",
            ),
        ]
        assert page.locator("text=<script>alert(1)</script>").count() == 1
        column = "[...document.querySelectorAll('#overview tbody tr')].map(row => row.cells[3].innerText)"
        head = page.locator("#overview thead th").nth(3)
        head.click()
        rising = page.evaluate(column)
        head.click()
        assert rising == sorted(rising)
        assert page.evaluate(column) == rising[::-1] != rising
        page.set_viewport_size({"width": 1200, "height": 900})
        assert page.evaluate(
            "[...document.querySelectorAll('#overview th')].every(th => th.getBoundingClientRect().right <= innerWidth)"
        )
        page.locator("#cnnv3-curves").scroll_into_view_if_needed()
        page.wait_for_function("document.querySelector('#cnnv3 .chart').view")
        page.locator("#cnnv2 .copy").click()
        page.wait_for_function("document.querySelector('#cnnv2 .copy').innerText === 'copied'")
        assert "expected calibration error (ece) " in page.locator("#cnnv3 figcaption").last.inner_text().lower()
        assert page.locator("#cnnv3 .tiles img").count() == 12
        assert page.locator("#cnnv2-mistakes").count() == 0  # this run has not kept any
        assert page.locator("#cnn-base-calibration").count() == 0  # and this one no predictions
        browser.close()
    assert [fault for fault in faults if not fault.startswith("data:")] == []


@pytest.mark.long
def test_the_overview_says_which_parameters_are_not_the_defaults(runs, tmp_path):
    """A run of three epochs stood there as plain ``cnn-base``, beside the published figure."""
    assert invoke("report", f"to={tmp_path / 'page'}").exit_code == 0
    overview = (tmp_path / "page" / "report.html").read_text().partition('id="overview"')[2].partition("<table")[0]
    assert "cnn-base * (test)" in overview
    assert "*: not with the experiment's own parameters" in overview.replace("&#39;", "'")
    assert "cnnv3 (test)" in overview


def test_a_program_reads_the_rows_from_standard_output(runs):
    table = invoke("compare", "experiments=cnnv3", "format=csv")
    assert table.exit_code == 0, table.output
    rows = pd.read_csv(io.StringIO(table.stdout))
    assert rows["label"].tolist() == ["cnnv3"]
    assert "Tracking in" in table.stderr
    (row,) = json.loads(invoke("compare", "experiments=cnnv3", "format=json").stdout)
    assert list(row) == list(rows)
    assert row["test_accuracy"] == pytest.approx(0.805)
    text = invoke("compare", "experiments=cnnv3", "format=md").stdout
    assert text.startswith("# Comparison\n")
    assert re.search(r"^\| cnnv3 \| 2 \| 0\.8050 ± 0\.0071 \| 0\.8 \(test\) \| \+0\.0050 \|", text, re.MULTILINE)
    assert "](" not in text  # pictures that would not be there


@pytest.mark.long
def test_a_narrow_terminal_gets_the_first_columns_whole(runs, monkeypatch):
    monkeypatch.setattr("tp1.report.terminal.WIDE", 80)
    output = invoke("compare", "experiments=cnnv3,cnnv3-configs").output
    assert re.search(r"^experiment +data +n +test +published +difference$", output, re.MULTILINE)
    assert re.search(
        r"^cnnv3-c1 +cifar10 +2 +0\.8300 ± 0\.0000 +0\.8313 \(validation\) +-0\.0013$", output, re.MULTILINE
    )
    assert "Too wide for this terminal, but in compare.html: remark, validation, macro F1" in output


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("format=json",)])
def test_a_closed_pipe_is_no_fault(runs, options):
    """As with ``| head -1``: the reader is gone before anything is written."""
    command = [
        sys.executable,
        "-c",
        "from tests.support.catalog import catalog; "
        "from tp1.commands.group import command_group; import sys; command_group(catalog())(sys.argv[1:])",
    ]
    process = subprocess.Popen(
        [*command, "compare", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=PROJECT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        text=True,
    )
    process.stdout.close()
    stderr = process.stderr.read()
    assert process.wait(60) == 0, stderr
    assert "Traceback" not in stderr
    assert "Broken" not in stderr
    assert last_run("compare").info.status == "FINISHED"
