"""Save and restore the whole training state, so that training resumes after a kill with bit-identical results."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from tp1.base.errors import TP1Error, why
from tp1.base.progress import say
from tp1.models.weights import storable
from tp1.training.checkpoint_files import checkpoint_name, checkpoint_paths
from tp1.training.loop import Epoch, EpochUnderWay, TrainingState
from tp1.training.orders import Blockwise
from tp1.training.ranks import Ranks

FORMAT = 1
KEPT = 2  # if the newest is truncated or damaged, the one before it is still there


class Checkpoints:
    """The checkpoints of one run: ``<epochs done>-<steps done in the next>.safetensors``, the last two.

    The format is safetensors, which cannot hold code, with a SHA-256 over the whole content.

    Args:
        folder: Folder of the checkpoints; created with the first one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """Return the checkpoints, newest first."""
        return checkpoint_paths(self.folder)

    def save(self, state: TrainingState) -> Path:
        """Write a checkpoint atomically, even if the power fails; delete all but the last two; return its path.

        Raises:
            OSError: It cannot be written; earlier checkpoints stay.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        steps = state.under_way.step if state.under_way else 0
        path = self.folder / checkpoint_name(len(state.history), steps)
        partial = path.with_name(f".{path.name}.partial")
        tensors, facts = _tensors(state), json.dumps(_facts(state))
        try:
            # Not written by safetensors, which does not raise OSError when the disk is full.
            content = safetensors.torch.save(tensors, {"tp1": facts, "sha256": _digest(tensors, facts)})
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(self.folder)
        for old in self.paths()[KEPT:]:
            old.unlink()
        return path

    def restore(self, state: TrainingState) -> bool:
        """Load the newest undamaged checkpoint into ``state``; return whether there was one.

        This also sets torch's global random number generators.

        Raises:
            TP1Error: All checkpoints are damaged, or the newest undamaged one is of another model.
        """
        damaged = []
        for path in self.paths():
            try:
                tensors, facts = _read(path)
            except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
                damaged.append(f"{path.name} ({why(error)})")
                say(f"Checkpoint {path} is damaged and is not used: {why(error)}")
                continue
            try:
                _restore(state, tensors, facts)
            except (RuntimeError, KeyError, TypeError) as error:
                raise TP1Error(
                    f"checkpoint {path} is not of this model ({why(error)}): "
                    "resume with the code that the run was started with."
                ) from error
            return True
        if damaged:
            raise TP1Error(
                f"no checkpoint in {self.folder} is whole: {'; '.join(damaged)}. Close the run (tp1 runs "
                "--close RUN_ID) and start anew."
            )
        return False


def share_state(state: TrainingState, ranks: Ranks) -> None:
    """Give all processes of a run the first one's state, as a checkpoint would."""
    tensors, facts = ranks.sent(lambda: (_tensors(state), _facts(state)))
    if not ranks.leads:
        _restore(state, tensors, facts)
        if state.under_way is not None:  # the sums are the first one's, which has those of all
            state.under_way.loss.zero_()
            state.under_way.correct.zero_()


def _tensors(state: TrainingState) -> dict[str, torch.Tensor]:
    groups: dict[str, Mapping[str, torch.Tensor]] = {
        "model": state.classifier.state_dict(),
        "random": _random_states(state),
    }
    if state.best is not None and not _best_is_now(state):
        groups["best"] = state.best_weights
    for number, (_, saved) in enumerate(state.optimizers.tensors()):
        groups[f"optimizer/{number}"] = {
            name: value for name, value in saved.items() if isinstance(value, torch.Tensor)
        }
    if state.average is not None:
        groups["average"] = state.average.state_dict()
    if (epoch := state.under_way) is not None:
        groups["epoch"] = {"order": epoch.order, "loss": epoch.loss, "correct": epoch.correct}
    return storable(
        {f"{group}/{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}
    )


def _facts(state: TrainingState) -> dict[str, Any]:
    epoch = state.under_way
    return {
        "format": FORMAT,
        "history": [asdict(epoch) for epoch in state.history],
        "best": state.best.number if state.best else None,
        "best_is_now": _best_is_now(state),
        "under_way": {"step": epoch.step, "seconds": epoch.seconds} if epoch else None,
        "blockwise": asdict(state.blockwise) if state.blockwise else None,
    }


def _best_is_now(state: TrainingState) -> bool:
    """Whether the best weights are the model's current ones, which need not be stored twice."""
    return state.under_way is None and bool(state.history) and state.best is state.history[-1]


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dictionary
    if metadata["sha256"] != _digest(tensors, metadata["tp1"]):
        raise ValueError("its SHA-256 is not the one written in it")
    facts = json.loads(metadata["tp1"])
    if facts["format"] != FORMAT:
        raise ValueError(f"its format is {facts['format']}, not {FORMAT}")
    return tensors, facts


def _restore(state: TrainingState, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    def group(name: str) -> dict[str, torch.Tensor]:
        prefix = f"{name}/"
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    state.classifier.load_state_dict(group("model"))
    for number, (tensor, optimizer_state) in enumerate(state.optimizers.tensors()):
        if saved := group(f"optimizer/{number}"):
            optimizer_state.update({name: _like(tensor, value) for name, value in saved.items()})
    if state.average is not None:
        state.average.load_state_dict(group("average"))
    state.history[:] = [Epoch(**epoch) for epoch in facts["history"]]
    best = facts["best"]
    state.best = None if best is None else state.history[best - 1]
    if state.best is not None:
        saved = state.evaluated.state_dict() if facts["best_is_now"] else group("best")
        state.best_weights = {name: value.detach().clone() for name, value in saved.items()}
    blockwise = facts.get("blockwise")  # not in checkpoints of earlier versions
    state.blockwise = None if blockwise is None else Blockwise(**blockwise)
    state.under_way = None
    if (under_way := facts["under_way"]) is not None:
        device, saved = state.classifier.device, group("epoch")
        state.under_way = EpochUnderWay(
            order=saved["order"],
            step=under_way["step"],
            loss=saved["loss"].to(device),
            correct=saved["correct"].to(device),
            seconds=under_way["seconds"],
        )
    _set_random_states(state, group("random"))


def _like(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Copy optimiser state into the parameter's memory layout, which fused Adam requires; scalars keep theirs."""
    if value.shape != parameter.shape:
        if value.dim():
            raise RuntimeError(f"optimiser state {tuple(value.shape)} for a parameter {tuple(parameter.shape)}")
        # Fused Adam keeps its step count on the parameter's device.
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _random_states(state: TrainingState) -> dict[str, torch.Tensor]:
    states = {"order": state.generator.get_state(), "torch": torch.get_rng_state()}
    if state.classifier.device.type != "cpu":
        device = state.classifier.device
        states["device"] = torch.get_device_module(device).get_rng_state(device)
    return states


def _set_random_states(state: TrainingState, states: Mapping[str, torch.Tensor]) -> None:
    state.generator.set_state(states["order"])
    torch.set_rng_state(states["torch"])
    if "device" in states:
        device = state.classifier.device
        torch.get_device_module(device).set_rng_state(states["device"], device)


def _digest(tensors: Mapping[str, torch.Tensor], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keeper(checkpoints: Checkpoints, state: TrainingState) -> Callable[[], None]:
    """Return a function that writes a checkpoint.

    It prints folder and size of the first one. If a checkpoint cannot be written, such as on a full disk, it prints a
    warning, and training continues with the last good checkpoint kept.
    """
    told = False

    def keep() -> None:
        nonlocal told
        try:
            path = checkpoints.save(state)
        except OSError as error:
            say(
                f"Cannot write a checkpoint to {checkpoints.folder} ({error.strerror}): training goes on, and a kill "
                f"would lose what came after the last good one."
            )
            return
        if not told:
            say(f"Checkpoints of {path.stat().st_size / 1e6:.1f} MB, the last two, in {checkpoints.folder}")
            told = True

    return keep
