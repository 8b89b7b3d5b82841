"""Chooses the device, and sets what a run needs of its process."""

import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

import torch

from nnexp.settings import ConfigError, ExperimentConfig

USUAL_THREADS = torch.get_num_threads()  # before any run has set its own


def choose_device(name: str) -> torch.device:
    """Return the device that a setting names; `auto` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: The device is unknown or not on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    remedy = "it needs auto, cpu, cuda, or cuda:0 and on"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device cannot be {name!r}", remedy) from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device cannot be {name!r}", remedy)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ConfigError(f"device={name} is not on this machine", f"CUDA devices here: {found}")
    return device


def prepare_process(config: ExperimentConfig, device: torch.device) -> None:
    """Set what a run needs of its process: threads, exact kernels, no denormal numbers."""
    torch.set_num_threads(config.threads or USUAL_THREADS)
    _forget_peak_memory()
    torch.set_flush_denormal(True)  # else a net without norm slows down as activations vanish
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.cuda.init()  # the call below does not do it, and fails without
        torch.cuda.reset_peak_memory_stats(device)


def emulates_bf16(device: torch.device) -> bool:
    """Return whether bfloat16 is slower than float32: on an x86 processor that has no such type."""
    if device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    return not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory used so far, in MiB: the device's, or on a CPU the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _forget_peak_memory() -> None:
    """Begin to count the process's memory anew, so that a run in a sweep reports its own peak."""
    with suppress(OSError):  # Linux alone; elsewhere the process's peak counts
        Path("/proc/self/clear_refs").write_text("5")
