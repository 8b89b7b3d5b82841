"""What CUDA does and refuses, on a CPU: graphs that do again what they saw, and one device."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
ALLOCATE = {  # which memory a graph uses is decided as it is captured
    *(aten.empty.memory_format, aten.empty_strided.default, aten.empty_like.default),
    *(aten.new_empty.default, aten.new_empty_strided.default),
}


class WaitsForDeviceError(RuntimeError):
    """The host asked for a value that is on the device: a capture would be refused."""


class Tape(TorchDispatchMode):
    """Records each operation of the work with the very tensors and numbers that it was given.

    A replay executes the same operations on the same tensors, and writes what comes of one to
    where its result was when it was recorded. Python does not run again: neither its numbers nor
    its names change.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        with self:
            work()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is aten._local_scalar_dense.default:
            raise WaitsForDeviceError("the work reads a value from the device")
        result = func(*args, **(kwargs or {}))
        if func not in ALLOCATE:
            self.operations.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, recorded in self.operations:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(recorded), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and not _share_memory(old, new):
                    old.copy_(new)


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of several devices; single numbers may be anywhere."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [
            one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor) and one.dim()
        ]
        devices = {one.device.type for one in given}
        assert len(devices) <= 1, f"{func} of tensors on {sorted(devices)}"
        return func(*args, **(kwargs or {}))


def _share_memory(first: Tensor, second: Tensor) -> bool:
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()
