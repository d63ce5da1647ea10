"""Reading runs from a tracking server: many at once, through MLflow's REST API.

The server takes seconds for a page and has several workers, so pages are requested in parallel. They are read as
JSON, which takes 0.1 s for 1,000 runs; MLflow's client, which creates objects, takes 1.3 s (docs/LOG.md, 2026-11-24).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response
from mlflow.utils.search_utils import SearchUtils

from tp1.store.addresses import quoted
from tp1.store.runs import READ_METRICS, READ_TAGS, MetricValue, RunQuery, TrackedRun, readable, shape_of

SEARCH = "/api/2.0/mlflow/runs/search"
HISTORIES = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"  # the endpoint that MLflow's own UI uses for curves
PAGE = 200  # runs per answer; a server distributes pages among its workers
RUNS_OF_HISTORIES = 100  # runs per request, MLflow's limit
VALUES = 25_000  # metric values per answer, MLflow's limit; it leaves out the rest
AT_ONCE = 4  # parallel requests, as many as an MLflow server has workers by default


class ServerRuns:
    """The runs of a server (a :class:`~tp1.store.runs.RunSource`).

    Args:
        uri: The server's address.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def find(self, query: RunQuery) -> Iterator[TrackedRun]:
        """Yield the runs that match a query, newest first.

        Raises:
            MlflowException: The server refuses.
        """
        if query.run_ids is not None and not query.run_ids:
            return
        experiments, conditions = self._experiments(), _conditions(query)

        def ask(token: str | None) -> dict[str, Any]:
            body = {
                "experiment_ids": experiments,
                "filter": conditions,
                "max_results": PAGE,
                "order_by": ["start_time DESC"],
            }
            return self._ask(SEARCH, "POST", json=body | ({"page_token": token} if token else {}))

        seen: set[str] = set()  # a run that starts meanwhile shifts the others to later pages
        for answer in _answers(ask, PAGE):
            for entry in answer.get("runs", []):
                if (run_id := entry["info"]["run_id"]) not in seen:
                    seen.add(run_id)
                    yield _tracked_run(entry)

    def histories(self, run_ids: Sequence[str], metrics: Sequence[str]) -> Iterator[MetricValue]:
        """Yield every logged value of these metrics of these runs, by step.

        Raises:
            MlflowException: The server refuses.
        """
        for start in range(0, len(run_ids), RUNS_OF_HISTORIES):
            for metric in metrics:
                yield from self._values(run_ids[start : start + RUNS_OF_HISTORIES], metric)

    def _values(self, run_ids: Sequence[str], metric: str) -> Iterator[MetricValue]:
        found = self._ask(HISTORIES, "GET", params={"run_id": list(run_ids), "metric_key": metric})["metrics"]
        if len(found) >= VALUES and len(run_ids) > 1:  # perhaps truncated: ask again for fewer runs
            half = len(run_ids) // 2
            yield from self._values(run_ids[:half], metric)
            yield from self._values(run_ids[half:], metric)
            return
        for point in sorted(found, key=lambda point: (point["step"], point["timestamp"])):
            yield point["run_id"], metric, float(point["value"])

    def _experiments(self) -> list[str]:
        """Return the ids of all MLflow experiments that are not deleted."""
        client = MlflowClient(self.uri)
        ids, token = [], None
        while True:
            page = client.search_experiments(max_results=PAGE, page_token=token)
            ids += [experiment.experiment_id for experiment in page]
            if not (token := page.token):
                return ids

    def _ask(self, endpoint: str, method: str, **content: Any) -> dict[str, Any]:
        answer = http_request(get_default_host_creds(self.uri), endpoint, method, **content)
        found: dict[str, Any] = verify_rest_response(answer, endpoint).json()
        return found


def _conditions(query: RunQuery) -> str:
    """Return the query in MLflow's filter language."""
    conditions = []
    if query.status is not None:
        conditions.append(f"attributes.status = '{query.status}'")
    if query.has is not None:
        conditions.append(f"tags.`{query.has}` IS NOT NULL")
    conditions += [f"tags.`{tag}` = {quoted(value)}" for tag, value in query.tags.items()]
    if query.since is not None:
        conditions.append(f"attributes.start_time >= {query.since}")
    if query.run_ids is not None:
        conditions.append(f"attributes.run_id IN ({', '.join(map(quoted, query.run_ids))})")
    return " AND ".join(conditions)


def _answers(ask: Callable[[str | None], dict[str, Any]], page: int) -> Iterator[dict[str, Any]]:
    """Yield every page in order; request several in parallel if the first page's token is a plain offset."""
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


def _tracked_run(entry: Mapping[str, Any]) -> TrackedRun:
    info, data = entry["info"], entry.get("data", {})
    tags = {tag["key"]: tag.get("value", "") for tag in data.get("tags", [])}
    metrics = {metric["key"]: float(metric["value"]) for metric in data.get("metrics", [])}
    params = {param["key"]: param.get("value", "") for param in data.get("params", [])}
    name, params = readable(info.get("run_name"), params)
    profiles = [
        item["dataset"].get("profile")
        for item in entry.get("inputs", {}).get("dataset_inputs", [])
        if {"key": "mlflow.data.context", "value": "training"} in item.get("tags", [])
    ]
    count, side = shape_of(profiles[0]) if profiles else (0, 0)
    return TrackedRun(
        run_id=info["run_id"],
        mlflow_experiment=info["experiment_id"],
        name=name,
        status=info["status"],
        start_time=info["start_time"],
        end_time=info.get("end_time", 0),
        tags={key: tags[key] for key in READ_TAGS if key in tags},
        params=params,
        metrics={key: metrics[key] for key in READ_METRICS if key in metrics},
        train_images=count,
        image_side=side,
    )
