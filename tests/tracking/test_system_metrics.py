"""Load and memory of the machine, measured during a run."""

import time

import pytest

from tp1.tracking.system_metrics import sampled


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")


def measured_in(seconds: float) -> list[tuple[dict[str, float], int]]:
    sent = []
    with sampled("0" * 32, lambda values, step: sent.append((values, step))):
        time.sleep(seconds)
    return sent


@pytest.mark.usefixtures("fast", "store")
def test_measures_are_sent_step_by_step():
    sent = measured_in(0.5)
    assert [step for _, step in sent] == list(range(len(sent)))
    assert "system/cpu_utilization_percentage" in sent[0][0]


@pytest.mark.usefixtures("fast", "store")
def test_mlflow_s_switch_turns_them_off(monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    assert measured_in(0.3) == []


@pytest.mark.usefixtures("fast", "store")
def test_mlflow_s_switch_leaves_them_on(monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    assert measured_in(0.5)
