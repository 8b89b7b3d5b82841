"""The order, the crops and the flips of an epoch: drawn on the host from (seed, epoch) alone."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Philox
from torch import Tensor

PADDING = 4
OFFSETS = 2 * PADDING + 1  # places a 32-pixel window can take along an axis of 40


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """What happens to each image in one epoch; host tensors of shape (N,).

    Args:
        order: int64; the image at each place of the epoch.
        top: int64; entry i is the first row, 0 to 8, of image i's crop out of its padded self.
        left: int64; entry i is the first column, 0 to 8.
        flip: bool; entry i says whether image i's crop is mirrored left to right.
    """

    order: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor


def epoch_plan(seed: int, epoch: int, num_images: int) -> EpochPlan:
    """Return the plan of an epoch: the same on every device, machine and version.

    With `words = numpy.random.Philox(key=[seed, epoch]).random_raw(2 * num_images)`, unsigned
    64-bit words:

        order   = argsort(words[:num_images], kind="stable")
        top     = words[num_images:] % 9
        left    = words[num_images:] // 9 % 9
        flip    = words[num_images:] // 81 % 2 == 1

    Raw words are Philox itself; NumPy promises the streams of its distributions to nobody.

    Args:
        seed: 0 to 2⁶³ − 1.
        epoch: Epochs finished before this one; the first has 0.
        num_images: Training images, N.
    """
    words = Philox(key=[seed, epoch]).random_raw(2 * num_images)
    keys, draws = words[:num_images], words[num_images:]
    return EpochPlan(
        order=torch.from_numpy(np.argsort(keys, kind="stable")),
        top=torch.from_numpy((draws % OFFSETS).astype(np.int64)),
        left=torch.from_numpy((draws // OFFSETS % OFFSETS).astype(np.int64)),
        flip=torch.from_numpy(draws // OFFSETS**2 % 2 == 1),
    )
