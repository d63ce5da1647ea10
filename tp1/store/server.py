"""Many runs, and many histories, from a tracking server at once, by MLflow's REST API.

The server computes a page in seconds and has several workers, so pages are asked for side by side; and they are taken
as JSON, where MLflow's client makes objects of all that it gets: 1.3 s for 1,000 runs, against 0.1 s (docs/LOG.md,
2026-11-24).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response
from mlflow.utils.search_utils import SearchUtils

from tp1.store.database import Point, RawRun, images_of

SEARCH = "/api/2.0/mlflow/runs/search"
HISTORIES = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"  # as MLflow's own pages ask for curves
RUNS_OF_HISTORIES = 100  # in a request, by MLflow's limits
POINTS = 25_000  # in an answer; what is more is left out
AT_ONCE = 4  # requests; an MLflow server has as many workers unless told otherwise


def search_runs(uri: str, experiments: Sequence[str], conditions: str, page: int) -> Iterator[RawRun]:
    """Runs that meet the conditions, newest first, each once.

    Args:
        experiments: Ids of MLflow experiments.
        conditions: In MLflow's filter language.
        page: Runs in an answer.

    Raises:
        MlflowException: The server refuses.
    """

    def ask(token: str | None) -> dict[str, Any]:
        body = {
            "experiment_ids": list(experiments),
            "filter": conditions,
            "max_results": page,
            "order_by": ["start_time DESC"],
        }
        return _ask(uri, SEARCH, "POST", json=body | ({"page_token": token} if token else {}))

    seen: set[str] = set()  # a run that starts meanwhile moves the others to later pages
    for answer in _answers(ask, page):
        for entry in answer.get("runs", []):
            if (run_id := entry["info"]["run_id"]) not in seen:
                seen.add(run_id)
                yield _raw_run(entry)


def read_points(uri: str, run_ids: Sequence[str], metrics: Sequence[str]) -> Iterator[Point]:
    """Every logged value of these metrics of these runs, by step.

    Raises:
        MlflowException: The server refuses.
    """
    for start in range(0, len(run_ids), RUNS_OF_HISTORIES):
        for metric in metrics:
            yield from _points(uri, run_ids[start : start + RUNS_OF_HISTORIES], metric)


def _points(uri: str, run_ids: Sequence[str], metric: str) -> Iterator[Point]:
    found = _ask(uri, HISTORIES, "GET", params={"run_id": list(run_ids), "metric_key": metric})["metrics"]
    if len(found) >= POINTS and len(run_ids) > 1:  # perhaps cut off
        half = len(run_ids) // 2
        yield from _points(uri, run_ids[:half], metric)
        yield from _points(uri, run_ids[half:], metric)
        return
    for point in sorted(found, key=lambda point: (point["step"], point["timestamp"])):
        yield point["run_id"], metric, float(point["value"])


def _ask(uri: str, endpoint: str, method: str, **content: Any) -> dict[str, Any]:
    answer = http_request(get_default_host_creds(uri), endpoint, method, **content)
    found: dict[str, Any] = verify_rest_response(answer, endpoint).json()
    return found


def _answers(ask: Any, page: int) -> Iterator[dict[str, Any]]:
    """Every page in order; several are asked for at once where the first says that tokens are plain offsets."""
    answer = ask(None)
    yield answer
    if answer.get("next_page_token") == _token(page):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            start = page
            while True:
                for answer in pool.map(ask, [_token(start + number * page) for number in range(AT_ONCE)]):
                    yield answer
                    if not answer.get("next_page_token"):
                        return
                start += AT_ONCE * page
    while token := answer.get("next_page_token"):
        answer = ask(token)
        yield answer


def _token(offset: int) -> str:
    token: bytes = SearchUtils.create_page_token(offset)
    return token.decode()


def _raw_run(entry: dict[str, Any]) -> RawRun:
    info, data = entry["info"], entry.get("data", {})
    profiles = [
        item["dataset"].get("profile")
        for item in entry.get("inputs", {}).get("dataset_inputs", [])
        if {"key": "mlflow.data.context", "value": "training"} in item.get("tags", [])
    ]
    return RawRun(
        run_id=info["run_id"],
        mlflow_experiment=info["experiment_id"],
        name=info.get("run_name", ""),
        start_time=info["start_time"],
        end_time=info["end_time"],
        tags={tag["key"]: tag.get("value", "") for tag in data.get("tags", [])},
        params={param["key"]: param.get("value", "") for param in data.get("params", [])},
        metrics={metric["key"]: float(metric["value"]) for metric in data.get("metrics", [])},
        train_images=images_of(profiles[0]) if profiles else 0,
    )
