"""Loss and accuracy on a split, with stored statistics."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from nnexp.data import Images, Split, normalized
from nnexp.training.state import device_of_sums
from nnexp.training.step import precision

EVALUATION_BATCH = 250  # images at a time; a constant, so that it never decides a rounding


def evaluate(
    model: nn.Module,
    split: Split,
    images: Images,
    precision_name: str,
    after_batch: Callable[[], None] = lambda: None,
) -> tuple[float, float]:
    """Return the mean loss and the accuracy on `split`.

    BatchNorm uses its stored statistics, so the answer is deterministic and, up to rounding,
    independent of how the images are batched.
    """
    was_training = model.training
    model.eval()
    sizes = [min(EVALUATION_BATCH, len(split) - k) for k in range(0, len(split), EVALUATION_BATCH)]
    measured = measure(model, split, sizes, images, precision_name, after_batch)
    model.train(was_training)
    return measured


def measure(
    model: nn.Module,
    split: Split,
    sizes: Sequence[int],
    images: Images,
    precision_name: str,
    after_batch: Callable[[], None],
) -> tuple[float, float]:
    """Return the mean loss and the accuracy, in batches of `sizes`, in the mode the model is in."""
    device = split.images.device
    sums = device_of_sums(device)
    loss = torch.zeros((), dtype=torch.float64, device=sums)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode(), precision(precision_name, device):
        for part, labels in zip(
            split.images.split(list(sizes)), split.labels.split(list(sizes)), strict=True
        ):
            logits = model(normalized(part, images.mean, images.std)).float()
            loss += F.cross_entropy(logits, labels, reduction="sum").to(sums).double()
            correct += (logits.argmax(dim=1) == labels).sum()
            after_batch()
    return loss.item() / len(split), correct.item() / len(split)
