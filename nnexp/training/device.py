"""Chooses the device, and sets what a run needs of its process."""

import ctypes
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

import torch

from nnexp.settings import ConfigError, ExperimentConfig

USUAL_THREADS = torch.get_num_threads()  # before any run has set its own

UNTESTED = ("mps", "xpu")  # kinds of devices that nnexp has never run on

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # parameters of glibc's mallopt, as malloc.h numbers them


def choose_device(name: str) -> torch.device:
    """Return the device that a setting names; `auto` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: The device is unknown or not on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    remedy = "it needs auto, cpu, cuda, cuda:0 and on, mps or xpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device cannot be {name!r}", remedy) from None
    if device.type not in ("cpu", "cuda", *UNTESTED):
        raise ConfigError(f"device cannot be {name!r}", remedy)
    found = 1 if device.type == "cpu" else torch.get_device_module(device).device_count()
    if device.type != "cpu" and (device.index or 0) >= found:
        kind = device.type.upper()
        raise ConfigError(f"device={name} is not on this machine", f"{kind} devices here: {found}")
    return device


def prepare_process(
    config: ExperimentConfig, device: torch.device, *, keep_memory: bool = True
) -> None:
    """Set what a run needs of its process: threads, memory, exact kernels, no denormal numbers.

    Args:
        config: The settings.
        device: Where to train.
        keep_memory: Whether a process that trains on its CPU keeps the memory that it has freed.

    Raises:
        ConfigError: The settings need float64, which the device does not have.
    """
    _check_float64(config, device)
    torch.set_num_threads(config.threads or USUAL_THREADS)
    if keep_memory and device.type == "cpu":
        _keep_freed_memory()
    _forget_peak_memory()
    torch.set_flush_denormal(True)  # else a net without norm slows down as activations vanish
    if device.type == "cuda":
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = not config.deterministic
        torch.backends.cudnn.deterministic = config.deterministic
        torch.backends.cudnn.allow_tf32 = config.tf32
        torch.backends.cuda.matmul.allow_tf32 = config.tf32
        torch.cuda.init()  # the last call below does not do it, and fails without
        if device.index is not None:
            torch.cuda.set_device(device)  # else each process would also occupy the first GPU
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "xpu":
        torch.xpu.reset_peak_memory_stats(device)


def device_name(device: torch.device) -> str:
    """Return the name of a device's model, or its type where it has none."""
    if device.type in ("cuda", "xpu"):
        return torch.get_device_module(device).get_device_name(device)
    return device.type


def emulates_bf16(device: torch.device) -> bool:
    """Return whether bfloat16 is slower than float32: on an x86 processor that has no such type."""
    if device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    return not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory used so far, in MiB: the device's, or on a CPU the process's."""
    if device.type in ("cuda", "xpu"):
        return torch.get_device_module(device).max_memory_allocated(device) / 2**20
    if device.type == "mps":  # it remembers no peak
        return torch.mps.driver_allocated_memory() / 2**20
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _check_float64(config: ExperimentConfig, device: torch.device) -> None:
    """Refuse what computes in float64 on a device that has no such numbers.

    Raises:
        ConfigError: With the way on.
    """
    if device.type != "mps":
        return
    for needs, what in (
        (config.norm.implementation == "reference", "norm.implementation=reference"),
        (config.probe.points > 0, "probe.points"),
        (config.evaluation.population_images > 0, "evaluation.population_images"),
    ):
        if needs:
            raise ConfigError(f"{what} needs float64, which {device} does not have", "device=cpu")


def _keep_freed_memory() -> None:
    """Keep what is freed for the next step: to get pages from the system anew takes long.

    By default glibc returns a tensor of 32 MiB or more as soon as it is freed, and smaller ones
    when they end its heap (https://man7.org/linux/man-pages/man3/mallopt.3.html).
    """
    with suppress(AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # never
        libc.malloc_trim(0)  # what an earlier run in this process has kept


def _forget_peak_memory() -> None:
    """Begin to count the process's memory anew, so that a run in a sweep reports its own peak."""
    with suppress(OSError):  # Linux alone; elsewhere the process's peak counts
        Path("/proc/self/clear_refs").write_text("5")
