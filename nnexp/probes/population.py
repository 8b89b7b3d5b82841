"""Evaluates BatchNorm with other statistics than the running ones, after the last epoch.

The stored running statistics are an average over weights that have moved on since. The network is
evaluated again with the exact statistics of training images at its last weights, and with those
of each evaluated batch; what the three accuracies differ by is the share of the evaluation.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from nnexp.data import Images, Split, batch_sizes, epoch_plan, train_batches
from nnexp.norms import norm_layers, spec_of
from nnexp.probes.forward_passes import evaluating, fixed_order
from nnexp.probes.running_statistics import STATISTICS, batch_statistics, stored_statistics
from nnexp.settings import ExperimentConfig
from nnexp.training import EVALUATION_BATCH, evaluate, measure, precision

ORDER_KEY = 0x706F70756C  # "popul": the same images in the same order for every run

Statistics = dict[str, tuple[Tensor, Tensor]]  # path of a layer → mean and variance, each (C,)


def evaluate_with_other_statistics(
    model: nn.Module,
    images: Images,
    config: ExperimentConfig,
    test_accuracy: float,
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, float | None]:
    """Return the metrics that docs/evaluation.md defines; the model is left as it was.

    A norm without stored statistics is evaluated in one way only: its accuracies are all the same,
    and it has no distances.
    """
    if not _stored(model):
        gaps = dict.fromkeys(("population_gap", "batch_gap"), 0.0)
        same = dict.fromkeys(("population_test_accuracy", "batch_test_accuracy"), test_accuracy)
        return {**same, **gaps, "running_mean_distance": None, "running_var_distance": None}
    with evaluating(model):
        exact = population_statistics(model, images, config, after_batch)
        distances = statistics_distances(model, exact)
        with buffers_restored(model):
            store(model, exact)
            population = evaluate(model, images.test, images, config.precision, after_batch)[1]
        batch = _with_own_statistics(model, images, config, after_batch)
    return {
        "population_test_accuracy": population,
        "batch_test_accuracy": batch,
        "population_gap": population - test_accuracy,
        "batch_gap": batch - population,
        **distances,
    }


def population_statistics(
    model: nn.Module,
    images: Images,
    config: ExperimentConfig,
    after_batch: Callable[[], None] = lambda: None,
) -> Statistics:
    """Return mean and biased variance of what each layer with stored statistics is given.

    They are over `evaluation.population_images` training images at the weights as they are, in
    batches of 250 that are normalized by their own statistics: PreciseBN (Wu & Johnson, 2021,
    https://arxiv.org/abs/2105.07576, section 3), with the variance between batches included.
    Weights, buffers and modes of the model are left as they were.
    """
    moments: dict[str, list[tuple[int, Tensor, Tensor]]] = {path: [] for path, _ in _stored(model)}
    chosen = shuffled(images.train, config.evaluation.population_images)
    batches = train_batches(
        chosen,
        epoch_plan(ORDER_KEY, 0, len(chosen)),
        EVALUATION_BATCH,
        images.mean,
        images.std,
        augment=config.evaluation.augment,
    )
    in_precision = precision(config.precision, chosen.images.device)
    with _seen(model, moments), _training_statistics(model), torch.no_grad(), in_precision:
        for batch, _ in batches:
            model(batch)
            after_batch()
    return {path: _pooled(parts) for path, parts in moments.items()}


def statistics_distances(model: nn.Module, exact: Mapping[str, tuple[Tensor, Tensor]]) -> dict:
    """Return how far stored statistics are from exact ones, averaged over layers and channels.

    `running_mean_distance` is |m − μ| / √(σ² + ε), `running_var_distance` |ln (v + ε) / (σ² + ε)|.
    """
    of_means, of_variances = [], []
    for path, layer in _stored(model):
        (mean, variance), eps = exact[path], spec_of(layer).eps
        stored = stored_statistics(layer)
        if "running_mean" in stored:
            away = (stored["running_mean"].double() - mean).abs()
            of_means.append((away / (variance + eps).sqrt()).mean())
        ratio = (stored["running_var"].double() + eps) / (variance + eps)
        of_variances.append(ratio.log().abs().mean())
    return {
        "running_mean_distance": torch.stack(of_means).mean().item() if of_means else None,
        "running_var_distance": torch.stack(of_variances).mean().item(),
    }


def store(model: nn.Module, statistics: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Put statistics in the place of the stored ones."""
    for path, layer in _stored(model):
        exact: dict[str, Tensor] = dict(zip(STATISTICS, statistics[path], strict=True))
        for name, stored in stored_statistics(layer).items():
            stored.copy_(exact[name])


def shuffled(split: Split, count: int | None = None) -> Split:
    """Return `count` images, or all, in an order that depends on their number alone."""
    order = fixed_order((ORDER_KEY, 1), len(split))[:count].to(split.labels.device)
    return replace(split, images=split.images[order], labels=split.labels[order])


def _with_own_statistics(
    model: nn.Module,
    images: Images,
    config: ExperimentConfig,
    after_batch: Callable[[], None],
) -> float:
    """Return the test accuracy where each batch is normalized by its own statistics."""
    test = shuffled(images.test)  # else a batch may be of one class
    sizes = batch_sizes(len(test), config.evaluation.batch_size or config.batch_size)
    with _training_statistics(model):
        return measure(model, test, sizes, images, config.precision, after_batch)[1]


def _stored(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [pair for pair in norm_layers(model) if stored_statistics(pair[1])]


@contextmanager
def buffers_restored(model: nn.Module) -> Iterator[None]:
    """Bring every buffer back to what it was, at the end of the block."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, values in before:
                buffer.copy_(values)


@contextmanager
def _training_statistics(model: nn.Module) -> Iterator[None]:
    """Evaluate with norms that take their statistics as in training; all is as before after it."""
    with evaluating(model), buffers_restored(model):
        for _, layer in _stored(model):
            layer.train()
        yield


@contextmanager
def _seen(model: nn.Module, moments: dict[str, list[tuple[int, Tensor, Tensor]]]) -> Iterator[None]:
    """Note number, mean and biased variance of each channel that a layer is given."""

    def look(path: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x_NCHW = inputs[0].detach().float()
            count = x_NCHW.numel() // x_NCHW.shape[1]
            mean, variance = batch_statistics(x_NCHW)
            biased = variance.double() * ((count - 1) / count)
            moments[path].append((count, mean.double(), biased))

        return hook

    with ExitStack() as hooks:
        for path, layer in _stored(model):
            hooks.callback(layer.register_forward_pre_hook(look(path)).remove)
        yield


def _pooled(parts: list[tuple[int, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over all parts together."""
    counts = torch.tensor([count for count, _, _ in parts], dtype=torch.float64)
    weights_P1 = (counts / counts.sum()).to(parts[0][1].device)[:, None]
    means_PC = torch.stack([mean for _, mean, _ in parts])
    variances_PC = torch.stack([variance for _, _, variance in parts])
    mean_C = (weights_P1 * means_PC).sum(0)
    return mean_C, (weights_P1 * (variances_PC + (means_PC - mean_C).square())).sum(0)
