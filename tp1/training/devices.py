"""The device that trains, and its precision."""

import torch

from tp1.base.errors import TP1Error
from tp1.base.processes import processes_here, rank_here


def choose_device(name: str) -> torch.device:
    """Return the device that ``name`` means on this machine.

    Args:
        name: ``auto`` (CUDA, then MPS, then CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``. Of several processes of a
            run on this machine, each takes a CUDA device of its own, or all take the CPU.

    Raises:
        TP1Error: ``name`` is not a device, or not on this machine.
    """
    if processes_here() > 1:
        return _choose_own(name)
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        kind = accelerator.type if accelerator is not None else "cpu"
        return torch.device(kind if kind in ("cuda", "mps") else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise TP1Error(f"device={name} is not a device: use cpu, cuda, cuda:0 or mps.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise TP1Error(
            f"device={name} is not on this machine, which has {torch.cuda.device_count()} CUDA devices: "
            "use device=auto or device=cpu."
        )
    if device.type == "cpu" and device.index:  # torch accepts any number and ignores it
        raise TP1Error(f"device={name}: the CPU is one device; use device=cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise TP1Error("device=mps is not on this machine: use device=auto or device=cpu.")
    return device


def _choose_own(name: str) -> torch.device:
    """Return the device of this one of several processes on a machine."""
    if name not in ("auto", "cpu", "cuda"):
        raise TP1Error(f"device={name}: each of several processes takes its own: use device=auto, cpu or cuda.")
    devices = torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and not devices):
        return torch.device("cpu")
    if devices < processes_here():
        raise TP1Error(
            f"{processes_here()} processes and {devices} CUDA devices on this machine: start as many processes as "
            "devices, or give device=cpu."
        )
    device = torch.device("cuda", rank_here())
    torch.cuda.set_device(device)
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Return ``fp32`` or ``bf16``; ``auto`` means bf16 only if the hardware computes in it.

    Otherwise bfloat16 is emulated and slower than float32.
    """
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        native = ("avx512_bf16", "amx_bf16", "bf16")  # x86, x86 with tiles, Arm
        return "bf16" if any(capabilities.get(name) for name in native) else "fp32"
    return "fp32"


def describe(device: torch.device) -> str:
    """The processor's name as a run records it, such as ``AMD EPYC, 2 threads``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        name = torch.cpu.get_capabilities().get("cpu_name") or "CPU"
        threads = torch.get_num_threads()
        return f"{name}, {threads} thread{'s' * (threads != 1)}"
    return "Apple GPU"
