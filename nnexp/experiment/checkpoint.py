"""Saves a training state whole and brings it back exactly, without pickle."""

import errno
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nnexp.rundir import make_folder, replacing, sync_folder
from nnexp.training import TrainState

NEWEST, PREVIOUS = "state.safetensors", "previous.safetensors"
WEIGHTS = "weights.safetensors"


class StateError(Exception):
    """A saved state that is torn, corrupt, or of another network; the message names it."""


def save_state(
    state: TrainState, folder: Path, notes: Mapping[str, Any], files: Mapping[str, bytes]
) -> None:
    """Write `state` so that a kill at any time leaves a complete state.

    The state before this one stays beside it, for the case that this file is damaged later.

    Args:
        notes: What else to remember, as JSON.
        files: Contents of the tables that belong to this state, by name.

    Raises:
        OSError: The file cannot be written; the states that were there are intact.
    """
    make_folder(folder)
    tensors = _tensors(state)
    for name, content in files.items():
        tensors[f"files.{name}"] = torch.from_numpy(np.array(bytearray(content), dtype=np.uint8))
    header = {
        "epoch": state.epoch,
        "step": state.step,
        "notes": dict(notes),
        "tensors": sorted(tensors),
    }
    text = json.dumps(header, sort_keys=True)
    metadata = {"nnexp": text, "sha256": _digest(tensors, text)}
    newest = folder / NEWEST
    with replacing(newest) as scratch:
        _write(tensors, scratch, metadata)
        if newest.exists():
            newest.replace(folder / PREVIOUS)
            sync_folder(folder)


def keep_weights(state: TrainState, folder: Path) -> None:
    """Leave the network's own tensors as the one file of a finished run.

    `model.load_state_dict(safetensors.torch.load_file(path))` brings them back; the same run has
    the same bytes.
    """
    make_folder(folder)
    with replacing(folder / WEIGHTS) as scratch:
        _write(state.model.state_dict(), scratch, {})


def drop_states(folder: Path) -> None:
    """Remove the saved states of a run that will not go on."""
    for name in (NEWEST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)


def _write(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    except SafetensorError as error:  # it wraps the system's own error in text
        found = re.search(r"os error (\d+)", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, str(error), str(path)) from error
    path.chmod(0o644)


@dataclass(frozen=True, slots=True)
class SavedState:
    """What a file holds, verified."""

    path: Path
    tensors: dict[str, Tensor]
    epoch: int
    step: int
    notes: dict[str, Any]
    files: dict[str, bytes]


def read_state(path: Path) -> SavedState:
    """Return what `save_state` wrote to `path`.

    Raises:
        StateError: The file is torn or corrupt, or does not hold all that a state holds.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise StateError(f"{path} cannot be read: {error}") from error
    text = metadata.get("nnexp", "")
    if metadata.get("sha256") != _digest(tensors, text):
        raise StateError(f"{path} is damaged: its checksum does not match")
    header = _read_header(path, text)
    if header.get("tensors", sorted(tensors)) != sorted(tensors):  # older states do not list them
        raise StateError(f"{path} does not hold the tensors that it lists")
    files = {
        name.removeprefix("files."): tensors.pop(name).numpy().tobytes()
        for name in list(tensors)
        if name.startswith("files.")
    }
    return SavedState(path, tensors, header["epoch"], header["step"], header["notes"], files)


def _read_header(path: Path, text: str) -> dict[str, Any]:
    """Return the numbers and notes of a state, each of the type that `save_state` wrote.

    Raises:
        StateError: One is missing, or is of another type.
    """
    try:
        header = json.loads(text)
        for key, kind in (("epoch", int), ("step", int), ("notes", dict)):
            if not isinstance(header[key], kind):
                raise TypeError(f"{key} cannot be {header[key]!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{path} has no valid header: {error}") from error
    return header


def restore_state(state: TrainState, saved: SavedState) -> None:
    """Put everything that `saved` holds into `state`.

    Raises:
        StateError: It belongs to another network or optimizer; `state` is unchanged.
    """
    held = {k: v for k, v in _tensors(state).items() if not k.startswith("optimizer.")}
    slots = {name for name in saved.tensors if name.startswith("optimizer.")}
    if {name: (value.shape, value.dtype) for name, value in held.items()} != {
        name: (value.shape, value.dtype)
        for name, value in saved.tensors.items()
        if name not in slots
    }:
        raise StateError(f"{saved.path} belongs to another network")
    remembered = _remembered(state, saved, slots)
    for name, tensor in held.items():
        tensor.detach().copy_(saved.tensors[name])
    state.optimizer.state.clear()
    for parameter, values in remembered.items():
        state.optimizer.state[parameter] = values
    state.epoch, state.step = saved.epoch, saved.step


def _remembered(
    state: TrainState, saved: SavedState, names: Iterable[str]
) -> dict[nn.Parameter, dict[str, Tensor]]:
    """Return what the saved optimizer knew of each parameter, such as its momentum.

    Raises:
        StateError: That is not what this run's optimizer keeps.
    """
    parameters = dict(state.model.named_parameters())
    remembered: dict[nn.Parameter, dict[str, Tensor]] = {}
    for name in names:
        owner, _, slot = name.removeprefix("optimizer.").rpartition(".")
        value = saved.tensors[name].to(state.device)
        if owner not in parameters or value.shape not in (parameters[owner].shape, ()):
            raise StateError(f"{saved.path} belongs to another network")
        if value.shape == parameters[owner].shape:  # in the same order in memory as the parameter
            value = torch.empty_like(parameters[owner], dtype=value.dtype).copy_(value)
        remembered.setdefault(parameters[owner], {})[slot] = value
    kept = _slots_of(state.optimizer, state.device)
    if any(values.keys() != kept for values in remembered.values()):
        raise StateError(f"{saved.path} belongs to another optimizer")
    return remembered


def _slots_of(optimizer: torch.optim.Optimizer, device: torch.device) -> set[str]:
    """Return the names of what an optimizer keeps for each parameter, as one step shows."""
    scrap = nn.Parameter(torch.zeros(1, device=device))
    scrap.grad = torch.zeros_like(scrap)
    twin = cast("Any", type(optimizer))([scrap])
    twin.param_groups[0].update({**optimizer.param_groups[0], "params": [scrap]})
    twin.step()
    return {slot for slot, value in twin.state[scrap].items() if isinstance(value, Tensor)}


def _tensors(state: TrainState) -> dict[str, Tensor]:
    """Return every tensor of `state` by a name that says where it belongs."""
    tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    for name, parameter in state.model.named_parameters():
        for slot, value in state.optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{name}.{slot}"] = value
    for name in ("loss", "correct", "gradient_norm"):
        tensors[f"totals.{name}"] = getattr(state.totals, name)
    tensors["first_bad_step"] = state.first_bad_step
    return tensors


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        values = tensors[name].detach().cpu().contiguous().reshape(-1)
        digest.update(values.numpy().data)
    return digest.hexdigest()
