"""Training in plain PyTorch, written a second time from docs/training.md, data.md and norms.md.

Nothing here imports nnexp: split, plan, network, initialization, steps and evaluation are computed
from their definitions alone, so that a mistake in nnexp cannot be repeated here.
"""

import math
import statistics
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

CLASSES = ("ant", "bee", "cat")
CLASS_ORDER_KEY = 0x6E6E657870
SPLIT = {"train": 70, "val": 71, "test": 271}  # none a multiple of the classes or the batch size
BATCH_SIZE, EPOCHS, SEED, WARMUP, DROPOUT = 16, 3, 11, 0.2, 0.3
STEPS = EPOCHS * math.ceil(SPLIT["train"] / BATCH_SIZE)
WARMUP_STEPS = 3
WIDTHS, DENSE_WIDTH = (8, 16, 32), 64  # a quarter of the baseline's


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run: the words that ask for it, and what they mean in PyTorch."""

    words: tuple[str, ...]
    norm: Callable[[int], nn.Module]
    optimizer: Callable[[list[nn.Parameter], list[nn.Parameter]], torch.optim.Optimizer]
    learning_rate: Callable[[int], float]  # of the step after so many
    clip_norm: float = math.inf


@dataclass
class Replay:
    """What the plain loop came to."""

    network: nn.Sequential
    rows: list[dict[str, float]] = field(default_factory=list)
    result: dict[str, float] = field(default_factory=dict)
    clipped: int = 0  # steps


def in_class_order(root: Path, half: str) -> list[list[Tensor]]:
    """Return each class's pictures, shuffled as docs/data.md says, each beside its place."""
    shuffled = []
    for label, name in enumerate(CLASSES):
        files = sorted((root / half / name).iterdir())
        words = np.random.Philox(key=[CLASS_ORDER_KEY, label]).random_raw(len(files))
        shuffled.append([files[k] for k in np.argsort(words, kind="stable")])
    return shuffled


def shares(total: int) -> list[int]:
    """Return how many images each class gives; the first classes give the remainder."""
    return [total // len(CLASSES) + (k < total % len(CLASSES)) for k in range(len(CLASSES))]


def split(root: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Return uint8 images and labels of each part, in the order of the files."""
    train, test = in_class_order(root, "train"), in_class_order(root, "test")
    parts = {
        "val": [files[:n] for files, n in zip(train, shares(SPLIT["val"]), strict=True)],
        "train": [
            files[skipped : skipped + n]
            for files, skipped, n in zip(
                train, shares(SPLIT["val"]), shares(SPLIT["train"]), strict=True
            )
        ],
        "test": [files[:n] for files, n in zip(test, shares(SPLIT["test"]), strict=True)],
    }
    return {name: read(classes) for name, classes in parts.items()}


def read(classes: list[list[Path]]) -> tuple[Tensor, Tensor]:
    images = [np.asarray(Image.open(file)) for files in classes for file in sorted(files)]
    labels = [label for label, files in enumerate(classes) for _ in files]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), torch.tensor(labels)


def normalizer(train_images: Tensor) -> Callable[[Tensor], Tensor]:
    pixels = train_images.double() / 255
    mean_1C11 = pixels.mean((0, 2, 3), keepdim=True).float()
    std_1C11 = pixels.std((0, 2, 3), correction=0, keepdim=True).float()
    return lambda images: (images.float() / 255 - mean_1C11) / std_1C11


def augmented_batches(
    images: Tensor, labels: Tensor, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield an epoch's uint8 batches, each picture padded, cropped and mirrored by itself."""
    count = len(images)
    words = np.random.Philox(key=[SEED, epoch]).random_raw(2 * count)
    order, draws = np.argsort(words[:count], kind="stable"), words[count:]
    for start in range(0, count, BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        crops = []
        for k in chosen:
            top, left, flip = int(draws[k] % 9), int(draws[k] // 9 % 9), draws[k] // 81 % 2
            crop = pad(images[k], (4, 4, 4, 4))[:, top : top + 32, left : left + 32]
            crops.append(crop.flip(2) if flip else crop)
        yield torch.stack(crops), labels[chosen]


def baseline(norm: Callable[[int], nn.Module]) -> nn.Sequential:
    """Return the baseline: three convolutions and a dense layer, its blocks named as in nnexp."""
    layers = OrderedDict[str, nn.Module]()
    for index, (num_in, num_out) in enumerate(pairwise((3, *WIDTHS)), 1):
        conv = nn.Conv2d(num_in, num_out, 3, padding=1, bias=False)
        layers[f"conv{index}"] = nn.Sequential(OrderedDict(conv=conv, norm=norm(num_out)))
        layers[f"act{index}"], layers[f"pool{index}"] = nn.ReLU(), nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    layers["dense"] = nn.Linear(WIDTHS[-1] * 4 * 4, DENSE_WIDTH)
    layers["dense_act"] = nn.ReLU()
    layers["dropout"] = nn.Dropout(DROPOUT)
    layers["classifier"] = nn.Linear(DENSE_WIDTH, len(CLASSES))
    network = nn.Sequential(layers)
    draw_weights(network)
    return network.to(memory_format=torch.channels_last)


def draw_weights(network: nn.Sequential) -> None:
    """Draw the weights in the order of the network, as docs/training.md says."""
    generator = torch.Generator().manual_seed(SEED)
    for layer in weight_layers(network):
        if isinstance(layer, nn.Conv2d):
            std = math.sqrt(2 / (layer.out_channels * 3 * 3))
        else:
            std = 0.01 if layer is network.classifier else math.sqrt(2 / layer.in_features)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(layer.weight, std=std, generator=generator)


def weight_layers(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def seed_dropout(step: int) -> None:
    digest = blake2b(f"{SEED}/{step}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") // 2)


def gradient_norm(network: nn.Module) -> float:
    return math.sqrt(sum(p.grad.double().square().sum().item() for p in network.parameters()))


@torch.no_grad()
def evaluated(network: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return mean loss and accuracy, from one batch of all images."""
    logits = network.eval()(inputs)
    accuracy = (logits.argmax(1) == labels).double().mean().item()
    return cross_entropy(logits, labels).item(), accuracy


def optimizer_of(case: Case, network: nn.Module) -> torch.optim.Optimizer:
    weights = [layer.weight for layer in weight_layers(network)]
    others = [p for p in network.parameters() if not any(p is w for w in weights)]
    return case.optimizer(weights, others)


def train_epoch(
    case: Case, replay: Replay, optimizer: torch.optim.Optimizer, batches: Iterator
) -> dict[str, float]:
    """Take an epoch's steps; return the columns that they decide."""
    network, losses, hits, norms = replay.network.train(), [], 0, []
    step, images = (replay.rows[-1][key] if replay.rows else 0 for key in ("step", "images"))
    for inputs, labels in batches:
        seed_dropout(step)
        rate = case.learning_rate(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        logits = network(inputs)
        loss = cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        norms.append(gradient_norm(network))
        nn.utils.clip_grad_norm_(network.parameters(), case.clip_norm)
        optimizer.step()
        replay.clipped += norms[-1] > case.clip_norm
        losses += [loss.item()] * len(labels)
        hits += (logits.argmax(1) == labels).sum().item()
        step += 1
    return {
        "step": step,
        "images": images + len(losses),
        "learning_rate": rate,
        "train_loss": statistics.fmean(losses),
        "train_accuracy": hits / len(losses),
        "gradient_norm": statistics.fmean(norms),
    }


def replayed(case: Case, root: Path) -> Replay:
    """Return the run of `case`, computed here."""
    parts = split(root)
    normalized = normalizer(parts["train"][0])
    inputs = {name: (normalized(images), labels) for name, (images, labels) in parts.items()}
    replay = Replay(network=baseline(case.norm))
    optimizer = optimizer_of(case, replay.network)
    for epoch in range(EPOCHS):
        drawn = augmented_batches(*parts["train"], epoch)
        batches = ((normalized(images), labels) for images, labels in drawn)
        row = {"epoch": epoch + 1, **train_epoch(case, replay, optimizer, batches)}
        row["val_loss"], row["val_accuracy"] = evaluated(replay.network, *inputs["val"])
        replay.rows.append(row)
    test_loss, test_accuracy = evaluated(replay.network, *inputs["test"])
    _, clean = evaluated(replay.network, *inputs["train"])
    replay.result = result_of(replay, test_loss, test_accuracy, clean)
    return replay


def result_of(
    replay: Replay, test_loss: float, test_accuracy: float, clean: float
) -> dict[str, float]:
    last, accuracies = replay.rows[-1], [row["val_accuracy"] for row in replay.rows]
    return {
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "clean_train_accuracy": clean,
        "generalization_gap": clean - test_accuracy,
        "val_accuracy_median5": statistics.median(accuracies),
        "mean_val_accuracy": statistics.fmean(accuracies),
        **{key: last[key] for key in ("val_loss", "val_accuracy", "train_loss", "train_accuracy")},
        "epochs_finished": EPOCHS,
        "steps": STEPS,
        "parameters": sum(parameter.numel() for parameter in replay.network.parameters()),
    }
