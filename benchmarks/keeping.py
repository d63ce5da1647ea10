"""Measure what durability costs an epoch of cnnv3: its checkpoint, and its metrics through the outbox.

    python benchmarks/keeping.py [--rounds 9]

Each round, in one process: training steps on batches as of CIFAR-10, from which the time of an epoch of 45,000 images
follows; a checkpoint, synced to disk; an epoch's metrics, put into the outbox and sent to a new SQLite store. The CPU
time of sending counts in full, though training does not wait for it. Measure on an otherwise idle machine.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import mlflow
import torch
from epoch import new_state, random_part

from experiments.cnnv3 import experiment
from tp1.config import TrainConfig
from tp1.recipe import Adam
from tp1.store.prepare import prepare_store
from tp1.tracking.delivery import deliver
from tp1.tracking.outbox import Entry, Outbox, Point
from tp1.training.checkpoints import Checkpoints
from tp1.training.devices import choose_device, choose_precision, describe
from tp1.training.loop import train

STEPS = 40
EPOCH_IMAGES = 45_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    config = TrainConfig(
        epochs=1, precision=precision, dropout=experiment.config.dropout, optimizer=Adam(weight_decay=1e-4)
    )
    part, val = random_part(STEPS * config.batch_size), random_part(config.batch_size)
    state = new_state(config, device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mlflow.set_tracking_uri(prepare_store(f"sqlite:///{folder}/mlflow.db"))
        client = mlflow.MlflowClient()
        run_id = client.create_run("0").info.run_id
        outbox = Outbox(folder / "outbox", lambda entry: deliver(client, run_id, entry), lambda error: False)
        checkpoints = Checkpoints(folder / "checkpoints")
        print(f"{describe(device)}, {precision}, batch {config.batch_size}")
        print("round  epoch s  checkpoint ms  metrics ms  share")
        shares = []
        for number in range(arguments.rounds + 1):
            state.history.clear()
            state.best = None
            train(state, part, val, config)
            epoch_seconds = EPOCH_IMAGES / state.history[0].images_per_second
            state.classifier.to(memory_format=torch.channels_last)
            began = time.perf_counter()
            checkpoints.save(state)
            checkpoint = time.perf_counter() - began
            began, computed = time.perf_counter(), time.process_time()
            outbox.put(Entry([Point(f"metric/{key}", float(number), number, number) for key in range(5)]))
            put = time.perf_counter() - began
            while outbox.waiting:
                time.sleep(0.001)
            metrics = max(put, time.process_time() - computed)
            share = (checkpoint + metrics) / epoch_seconds
            if number:  # the first round warms up
                shares.append(share)
                print(
                    f"{number:5d}  {epoch_seconds:7.1f}  {1e3 * checkpoint:13.1f}  {1e3 * metrics:10.1f}  {share:.4%}"
                )
        outbox.close(1)
        size = checkpoints.paths()[0].stat().st_size
        low, high = min(shares), max(shares)
        print(f"median {statistics.median(shares):.3%} ({low:.3%} to {high:.3%}); a checkpoint is {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
