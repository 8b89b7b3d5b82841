"""What a run was made with: versions, device, threads, commit, command line."""

import os
import platform
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from nnexp.rundir import ENVIRONMENT
from nnexp.settings.sharing import shareable_command
from nnexp.settings.version import __version__
from nnexp.training import device_name

PACKAGES = ("torchvision", "numpy", "hydra-core", "safetensors")
# Equal bytes are promised where these are equal.
DECIDES_BITS = (
    *("device", "threads", "memory_format", "step"),
    *("torch", "numpy", "cuda", "cudnn", "commit"),
)

# What runs did before there was a choice, so before it was recorded.
BEFORE = {"memory_format": "nchw", "step": "eager"}


def describe_environment(
    device: torch.device, command: Sequence[str], layout: str, step: str
) -> dict[str, Any]:
    """Return the contents of `environment.json`.

    Args:
        device: Where the run trains.
        command: The words that started it.
        layout: Of feature maps, nchw or nhwc.
        step: How steps are executed, as `choose_step` returns it.
    """
    cpu = f"cpu ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"
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
        "device": cpu if device.type == "cpu" else device_name(device),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_format": layout,
        "step": step,
        "flush_denormal": True,
        **_commit(),
    }


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return what decides the bytes of a result and is not the same in both."""
    return [
        f"{key}: {old.get(key)} then, {new.get(key)} now"
        for key in DECIDES_BITS
        if key in old and old[key] != new.get(key)
    ]


def environment_columns(record: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a result that come from `environment.json`.

    `environments` counts those that differ in what decides bytes: a run of more than one is a mix.
    """
    tries = [record, *record.get("resumed", [])]
    return {
        "environments": len(
            {tuple(one.get(key, BEFORE.get(key)) for key in DECIDES_BITS) for one in tries}
        ),
        **{f"environment.{name}": record.get(name) for name in ENVIRONMENT},
    }


def _version(package: str) -> str | None:
    """Return a package's version; None where it is only on the path, not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> dict[str, Any]:
    """Return the commit nnexp runs from and whether its files were changed; None outside git."""
    home = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        command = ["git", "-C", str(home), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    if (home / ".git").exists():
        with suppress(OSError, subprocess.CalledProcessError):
            changed = git("status", "--porcelain", "--untracked-files=no")
            return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    return {"commit": None, "dirty": None}
