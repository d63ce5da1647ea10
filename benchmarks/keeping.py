"""What durability costs an epoch of cnnv3: its checkpoint, and its metrics through the outbox."""

import time
from pathlib import Path

import mlflow
import torch

from benchmarks.epochs import new_classifier, random_part
from benchmarks.frame import Row, Table
from experiments.cnnv3 import experiment
from tp1.store.prepare import prepare_store
from tp1.tracking.delivery import deliver
from tp1.tracking.outbox import Entry, Outbox, Point
from tp1.training.checkpoints import Checkpoints
from tp1.training.devices import choose_device, choose_precision
from tp1.training.loop import start, train

STEPS = 40
EPOCH_IMAGES = 45_000


def table(rounds: int, folder: Path) -> Table:
    """Measure training steps, a checkpoint, and an epoch's metrics, in turns.

    The CPU time of sending counts in full, though training does not wait for it.
    """
    device = choose_device("auto")
    config = experiment.config.changed(epochs=1, precision=choose_precision("auto", device))
    part, val = random_part(STEPS * config.batch_size), random_part(config.batch_size)
    state = start(new_classifier(experiment, config), config, device)
    mlflow.set_tracking_uri(prepare_store(f"sqlite:///{folder}/keeping.db"))
    client = mlflow.MlflowClient()
    run_id = client.create_run("0").info.run_id
    outbox = Outbox(folder / "outbox", lambda entry: deliver(client, run_id, entry), lambda error: False)
    checkpoints = Checkpoints(folder / "checkpoints")
    epochs: list[float] = []
    kept: list[float] = []
    sent: list[float] = []
    for number in range(rounds + 1):
        state.history.clear()
        state.best = None
        train(state, part, val, config)
        epoch = EPOCH_IMAGES / state.history[0].images_per_second
        state.classifier.to(memory_format=torch.channels_last)
        began = time.perf_counter()
        checkpoints.save(state)
        checkpoint = time.perf_counter() - began
        began, computed = time.perf_counter(), time.process_time()
        outbox.put(Entry([Point(f"metric/{key}", float(number), number, number) for key in range(5)]))
        put = time.perf_counter() - began
        while outbox.waiting:
            time.sleep(0.001)
        if number:  # the first round warms up
            epochs.append(epoch)
            kept.append(checkpoint)
            sent.append(max(put, time.process_time() - computed))
    outbox.close(1)
    size = checkpoints.paths()[0].stat().st_size
    return Table(
        "Checkpoint and metrics of an epoch of cnnv3",
        "s",
        f"The epoch is reckoned from {STEPS} steps, for {EPOCH_IMAGES:,} images. The checkpoint ({size / 1e6:.1f} MB) "
        "is synced to disk; the metrics go through the outbox to an SQLite store. Ratio: to the epoch.",
        [
            Row("an epoch", epochs),
            Row("its checkpoint", kept, [a / b for a, b in zip(kept, epochs, strict=True)]),
            Row("its metrics", sent, [a / b for a, b in zip(sent, epochs, strict=True)]),
        ],
    )
