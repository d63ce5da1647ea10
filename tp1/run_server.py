"""Many runs from a tracking server at once, by MLflow's REST API.

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

from tp1.run_database import RawRun, images_of

ENDPOINT = "/api/2.0/mlflow/runs/search"
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
        answer = http_request(
            get_default_host_creds(uri), ENDPOINT, "POST", json=body | ({"page_token": token} if token else {})
        )
        found: dict[str, Any] = verify_rest_response(answer, ENDPOINT).json()
        return found

    seen: set[str] = set()  # a run that starts meanwhile moves the others to later pages
    for answer in _answers(ask, page):
        for entry in answer.get("runs", []):
            if (run_id := entry["info"]["run_id"]) not in seen:
                seen.add(run_id)
                yield _raw_run(entry)


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
