"""What a run was made with: versions, device, threads, commit, command line."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from nnexp import __version__
from nnexp.config import ConfigError, ExperimentConfig
from nnexp.sharing import shareable_command

PACKAGES = ("torchvision", "numpy", "hydra-core", "safetensors")
USUAL_THREADS = torch.get_num_threads()  # before any run has set its own
DECIDES_BITS = ("device", "threads", "torch")  # equal bytes are promised where these are equal


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


def describe_environment(device: torch.device, command: Sequence[str]) -> dict[str, Any]:
    """Return the contents of `environment.json`."""
    return {
        "command": shareable_command(command),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "nnexp": __version__,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        **{package: _version(package) for package in PACKAGES},
        "device": _device_name(device),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "flush_denormal": True,
        **_commit(),
    }


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return what decides the last digits of a result and is not the same in both."""
    return [
        f"{key}: {old.get(key)} then, {new.get(key)} now"
        for key in DECIDES_BITS
        if key in old and old[key] != new.get(key)
    ]


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


def _version(package: str) -> str | None:
    """Return a package's version; None where it is only on the path, not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def _commit() -> dict[str, Any]:
    """Return the commit nnexp runs from and whether its tree was dirty; nothing outside git."""
    folder = Path(__file__).resolve().parent
    if not (folder.parent / ".git").exists():
        return {"commit": None, "dirty": None}

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
