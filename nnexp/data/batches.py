"""Makes the augmented, normalized batches of an epoch from uint8 images on the device."""

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from nnexp.data.plan import OFFSETS, PADDING, EpochPlan
from nnexp.data.split import Channels, Split
from nnexp.settings.sizes import batch_sizes

SIDE = 32
PADDED = SIDE + 2 * PADDING
MADE_TOGETHER = 128  # images, where batches have fewer


def train_batches(  # noqa: PLR0913 - the images, what befalls them, and where to begin
    split: Split,
    plan: EpochPlan,
    batch_size: int,
    mean: Channels,
    std: Channels,
    augment: bool = True,
    start: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch's batches: float32 (B, 3, 32, 32) and int64 (B,), on the split's device.

    Each image is padded with 4 black pixels on every side, cropped at its (top, left), mirrored
    where its flip says so, and normalized. No batch waits for the device.

    Args:
        split: The training images; the plan must be of as many.
        plan: The epoch's order, crops and flips.
        batch_size: Images a batch; `batch_sizes` says how an epoch ends.
        mean: Subtracted from each channel, in units of 0 to 1.
        std: Divides each channel after that.
        augment: Whether to crop and flip; without, only the plan's order counts.
        start: Index of the first batch to yield, for an epoch that goes on in its middle.
    """
    device = split.images.device
    sizes = batch_sizes(len(split), batch_size)
    skipped = sum(sizes[:start])
    order = plan.order[skipped:].to(device)
    # (top, left, flip) as one number, a row of the table: two lookups crop and mirror a batch.
    windows = ((plan.top * OFFSETS + plan.left) * 2 + plan.flip).to(device)
    table = _window_table(device)
    at = 0
    for block in _blocks(sizes[start:]):
        chosen = order[at : at + sum(block)]
        at += sum(block)
        images = split.images.index_select(0, chosen)
        if augment:
            # Pixel p of image b is pixel `sources_BP[b, p]` of it padded.
            sources_BP = table.index_select(0, windows[chosen])
            padded = pad(images, [PADDING] * 4).flatten(2)
            images = padded.gather(2, sources_BP[:, None].expand(-1, 3, -1)).view_as(images)
        images, labels = normalized(images, mean, std), split.labels[chosen]
        yield from zip(images.split(block), labels.split(block), strict=True)


def _blocks(sizes: list[int]) -> Iterator[list[int]]:
    """Yield the sizes of batches that are made together, since single small ones take long."""
    together = max(1, MADE_TOGETHER // max(sizes, default=1))
    for first in range(0, len(sizes), together):
        yield sizes[first : first + together]


def normalized(images: Tensor, mean: Channels, std: Channels) -> Tensor:
    """Return (x / 255 − mean) / std of uint8 images (N, 3, 32, 32), as float32."""
    mean_C11, std_C11 = _constants(mean, std, images.device)
    return images.to(torch.float32).div_(255).sub_(mean_C11).div_(std_C11)


@lru_cache(maxsize=4)
def _window_table(device: torch.device) -> Tensor:
    """Return int64 (9·9·2, 32·32): where each pixel of every possible window comes from."""
    offsets, pixels = torch.arange(OFFSETS), torch.arange(SIDE)
    rows = (offsets[:, None] + pixels) * PADDED
    columns = torch.stack([pixels, pixels.flip(0)]) + offsets[:, None, None]
    table = rows[:, None, None, :, None] + columns[None, :, :, None, :]
    return table.reshape(OFFSETS * OFFSETS * 2, SIDE * SIDE).to(device)


@lru_cache(maxsize=8)  # a copy to the device for each batch would wait for it
def _constants(mean: Channels, std: Channels, device: torch.device) -> tuple[Tensor, Tensor]:
    mean_C11 = torch.tensor(mean, dtype=torch.float32).view(3, 1, 1)
    std_C11 = torch.tensor(std, dtype=torch.float32).view(3, 1, 1)
    return mean_C11.to(device), std_C11.to(device)
