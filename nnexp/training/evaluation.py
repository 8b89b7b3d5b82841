"""Loss and accuracy on a split, with stored statistics."""

from collections.abc import Callable

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
    device = split.images.device
    sums = device_of_sums(device)
    loss = torch.zeros((), dtype=torch.float64, device=sums)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    was_training = model.training
    model.eval()
    with torch.inference_mode(), precision(precision_name, device):
        for start in range(0, len(split), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            logits = model(normalized(split.images[part], images.mean, images.std)).float()
            batch_loss = F.cross_entropy(logits, split.labels[part], reduction="sum")
            loss += batch_loss.to(sums).double()
            correct += (logits.argmax(dim=1) == split.labels[part]).sum()
            after_batch()
    model.train(was_training)
    return loss.item() / len(split), correct.item() / len(split)
