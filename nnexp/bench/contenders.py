"""The loops that `nnexp bench` measures, each as a function that takes some steps."""

import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from nnexp.data import Images, normalized
from nnexp.models.init import initialize
from nnexp.models.precision import prepare_for_bf16
from nnexp.probes import Recorder
from nnexp.settings import ExperimentConfig
from nnexp.training import (
    LAYOUTS,
    build_checked_model,
    build_optimizer,
    choose_layout,
    choose_step,
    lay_out,
    make_step,
    plan_run,
    precision,
    start_state,
    train_epoch,
)

RATE = 1e-3  # learning rate of the other contenders; it decides no time
WORKERS = 2  # of the textbook loop's DataLoader
PADDING = 4
Turn = Callable[[], float]  # takes the steps of an epoch, and returns the seconds


def nnexp_loop(
    config: ExperimentConfig,
    images: Images,
    device: torch.device,
    *,
    traced: bool,
    note: Callable[[str], None],
) -> Turn:
    """Return a turn of nnexp's loop: one epoch, as `nnexp train` runs it.

    `note` is told where captured steps give way to eager ones.
    """
    state = start_state(config, len(images.classes), device)
    step = make_step(state, config, choose_step(config, device), note)
    plan = plan_run(config, len(images.train))
    recorder = Recorder(state.model, plan, points=0)
    if traced:
        recorder.steps = frozenset(range(plan.total_steps + 1))

    def epoch() -> None:
        state.epoch = state.step = 0
        state.totals.reset()
        train_epoch(step, images, config, plan, recorder, lambda: None)
        recorder.drain()

    return partial(_seconds, epoch, device)


def bare_step(
    model: nn.Module, config: ExperimentConfig, images: Images, device: torch.device
) -> Turn:
    """Return a turn of the bare step: the network's own work alone, with nnexp's optimizer."""
    if config.precision == "bf16":
        prepare_for_bf16(model)
    optimizer = build_optimizer(model, config.optimizer, RATE)
    batch = normalized(images.train.images[: config.batch_size], images.mean, images.std)
    labels = images.train.labels[: config.batch_size]

    def epoch() -> None:
        for _ in range(len(images.train) // config.batch_size):
            optimizer.zero_grad()
            with precision(config.precision, device):
                logits = model(batch)
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()

    return partial(_seconds, epoch, device)


def timm_step(
    model: nn.Module, config: ExperimentConfig, images: Images, device: torch.device
) -> Turn:
    """Return a turn of the training step of timm, on the batch of the bare step.

    The step is that of its train.py (1.0, https://github.com/huggingface/pytorch-image-models)
    with its optimizer and its meter, which reads the loss at every step. Its loss scaler is for
    float16 alone, so there is none; gradients are not clipped, and its log line is left out.
    """
    from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]
    from timm.utils.metrics import AverageMeter

    sgd = config.optimizer
    optimizer = create_optimizer_v2(
        model,
        "momentum",  # its "sgd" has Nesterov's momentum
        lr=RATE,
        weight_decay=sgd.weight_decay,
        momentum=sgd.momentum,
        filter_bias_and_bn=not sgd.decay_norm_and_bias,
    )
    batch = normalized(images.train.images[: config.batch_size], images.mean, images.std)
    labels = images.train.labels[: config.batch_size]
    layout = LAYOUTS[choose_layout(config, device)]

    def epoch() -> None:
        losses = AverageMeter()
        optimizer.zero_grad()
        for _ in range(len(images.train) // config.batch_size):
            inputs = batch.contiguous(memory_format=layout)
            with precision(config.precision, device):
                loss = F.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
            losses.update(loss.item(), len(inputs))
            optimizer.zero_grad()

    return partial(_seconds, epoch, device)


def plain_loop(config: ExperimentConfig, images: Images, device: torch.device) -> Turn:
    """Return a turn of a plain loop that is written with care, in the same precision and layout.

    Normalized and padded images are in memory; an index crops and mirrors a batch; autocast does
    with norms what it does; losses are added up where they are.
    """
    model = starting_network(config, len(images.classes), device)
    optimizer = _sgd(model, config)
    padded_NHWC = F.pad(
        normalized(images.train.images, images.mean, images.std), [PADDING] * 4
    ).permute(0, 2, 3, 1)
    pixels, layout = torch.arange(32, device=device), LAYOUTS[choose_layout(config, device)]

    def cropped(chosen: Tensor) -> Tensor:
        top, left, flip = (
            torch.randint(count, (len(chosen), 1), device=device)
            for count in (2 * PADDING + 1, 2 * PADDING + 1, 2)
        )
        rows, columns = top + pixels, left + torch.where(flip > 0, pixels.flip(0), pixels)
        crops_NHWC = padded_NHWC[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        return crops_NHWC.permute(0, 3, 1, 2).contiguous(memory_format=layout)

    def epoch() -> None:
        loss_sum = torch.zeros((), device=device)
        for chosen in torch.randperm(len(images.train), device=device).split(config.batch_size):
            optimizer.zero_grad()
            with precision(config.precision, device):
                loss = F.cross_entropy(model(cropped(chosen)), images.train.labels[chosen])
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach()
        loss_sum.item()

    return partial(_seconds, epoch, device)


def textbook_loop(config: ExperimentConfig, images: Images, device: torch.device) -> Turn:
    """Return a turn of the loop that tutorials show: one epoch in fp32; its workers outlive it."""
    model = build_checked_model(config, len(images.classes)).to(device).train()
    initialize(model, config.init, config.seed)
    optimizer = _sgd(model, config)
    loader = DataLoader(
        _Pictures(images),
        batch_size=config.batch_size,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
    )

    def epoch() -> None:
        loss_sum, num_correct = 0.0, 0
        for batch in loader:
            inputs, labels = (tensor.to(device) for tensor in batch)
            optimizer.zero_grad()
            logits = model(inputs)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            num_correct += int((logits.argmax(1) == labels).sum().item())

    return partial(_seconds, epoch, device)


class _Pictures(Dataset[tuple[Tensor, int]]):
    """The training images as a textbook holds them: PIL pictures and their transforms."""

    def __init__(self, images: Images) -> None:
        from torchvision import transforms

        self.pictures = [
            Image.fromarray(image.permute(1, 2, 0).cpu().numpy()) for image in images.train.images
        ]
        self.labels = images.train.labels.tolist()
        self.transform: Callable[[Image.Image], Tensor] = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(images.mean, images.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pictures[index]), self.labels[index]


def starting_network(config: ExperimentConfig, num_classes: int, device: torch.device) -> nn.Module:
    """Return the network as a run begins with it, in the same layout."""
    model = build_checked_model(config, num_classes)
    initialize(model, config.init, config.seed)
    model.to(device).train()
    lay_out(model, choose_layout(config, device), config)
    return model


def _sgd(model: nn.Module, config: ExperimentConfig) -> torch.optim.SGD:
    """Return the optimizer as it is usually made: PyTorch chooses its kernel."""
    momentum, decay = config.optimizer.momentum, config.optimizer.weight_decay
    return torch.optim.SGD(model.parameters(), RATE, momentum=momentum, weight_decay=decay)


def _seconds(epoch: Callable[[], None], device: torch.device) -> float:
    begun = time.perf_counter()
    epoch()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - begun
