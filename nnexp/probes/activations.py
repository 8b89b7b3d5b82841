"""What the activations of one forward pass are like: at each norm, and between images."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nnexp.norms import NormSpec
from nnexp.probes.time_points import TimePoint

PERCENTILES = (1, 20, 80, 99)
MOST_VALUES = 2**16  # that percentiles are taken of: to sort a whole map would cost a step


def note_norm(point: TimePoint, path: str, spec: NormSpec, given: Tensor, output: Tensor) -> None:
    """Note percentiles of what a norm layer takes and gives, and its share of dead channels.

    Args:
        point: Takes the quantities.
        path: Of the layer.
        spec: What the layer was built from.
        given: Its input (N, C, H, W).
        output: Its output, of the same shape.
    """
    for side, values in (("input", given), ("output", output)):
        for percent, value in zip(PERCENTILES, percentiles(values), strict=True):
            point.note(path, f"{side}_p{percent}", value)
    if spec.activated:
        point.note(path, "dead_channels", dead_channels(output))


def percentiles(values: Tensor) -> Tensor:
    """Return the percentiles 1, 20, 80 and 99, interpolated linearly, (4,).

    Of n values, more than 65,536, every k-th is taken in NCHW order: k is the smallest number from
    n / 65,536 on that has no divisor in common with n, so that no row, column or channel of the
    map is passed over.
    """
    stride = -(-values.numel() // MOST_VALUES)
    while math.gcd(stride, values.numel()) > 1:
        stride += 1
    places = torch.arange(0, values.numel(), stride, device=values.device)
    shares = torch.tensor(PERCENTILES, device=values.device) / 100
    return torch.quantile(values.take(places).float(), shares)


def dead_channels(output: Tensor) -> Tensor:
    """Return the share of channels (N, C, H, W) that are nowhere above 0."""
    return (output.amax((0, 2, 3)) <= 0).float().mean()


def note_similarity(point: TimePoint, path: str, output: Tensor) -> None:
    """Note how alike the activations of the images are: mean cosine, and effective rank.

    With rows of length 1 in X and G = X Xᵀ they are (ΣG − N) / (N (N − 1)) and N² / ‖G‖_F². An
    image whose activations are all 0 has no direction and is left out of N.

    Args:
        point: Takes the two quantities.
        path: Of the block.
        output: Its output (N, …).
    """
    rows_ND = output.flatten(1).float()
    count = (rows_ND != 0).any(1).sum()
    unit_ND = F.normalize(rows_ND, eps=torch.finfo(torch.float32).tiny)
    gram_NN = (unit_ND @ unit_ND.T).double()
    similarity = (gram_NN.sum() - count) / (count * (count - 1))
    point.note(path, "activation_similarity", similarity)
    point.note(path, "effective_rank", count.square() / gram_NN.square().sum())
