"""What the machine can do at most: a large matrix product, and a copy of much memory."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

SIDE, SIDE_CPU = 8192, 1024  # of square matrices
COPIED, COPIED_CPU = 2**30, 2**26  # bytes: more than caches hold
TURNS = 5


@dataclass(frozen=True, slots=True)
class Attainable:
    """The best of several tries."""

    flops: float  # floating-point operations a second in a matrix product; two for each product
    bytes: float  # copied a second


def measure_attainable(precision: str, device: torch.device) -> Attainable:
    """Measure both on a device, in a precision (fp32 or bf16), with the threads that are set."""
    side, copied = (SIDE_CPU, COPIED_CPU) if device.type == "cpu" else (SIDE, COPIED)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.zeros(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return Attainable(
        flops=2 * side**3 / _best(lambda: a @ b, device),
        bytes=len(source) / _best(lambda: target.copy_(source), device),
    )


def count_flops(model: nn.Module, batch: Tensor, labels: Tensor) -> int:
    """Return the operations of convolutions and linear layers, forward and backward."""
    counted = {torch.ops.aten.convolution_backward: _flops_of_convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=counted) as counter:
        F.cross_entropy(model(batch), labels).backward()
    model.zero_grad()
    return counter.get_total_flops()


def _flops_of_convolution_backward(
    d_output: Sequence[int], given: Sequence[int], weight: Sequence[int], *how: Any, **kept: Any
) -> int:
    """Return the operations for the gradients that are asked for: each takes a forward pass.

    PyTorch's own count for the weights is too large by a factor of the groups.
    """
    transposed, *_, wanted = how[-4:]  # wanted: whether of the input, and of the weight
    outputs = given if transposed else d_output
    return 2 * sum(wanted[:2]) * math.prod(outputs) * math.prod(weight[1:])


def _best(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of the fastest of several turns, after one that does not count."""
    seconds = []
    for _ in range(TURNS + 1):
        begun = time.perf_counter()
        work()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        seconds.append(time.perf_counter() - begun)
    return min(seconds[1:])
