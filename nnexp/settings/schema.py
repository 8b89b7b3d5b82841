"""The second station of the line of data: every setting, its default, its check, its identity."""

from dataclasses import dataclass, field

from nnexp.settings.checks import (
    check_below_one,
    check_count,
    check_kind,
    check_name,
    check_not_negative,
    check_positive,
    check_range,
    check_word,
)
from nnexp.settings.checks import config_home as config_home
from nnexp.settings.errors import ConfigError

MOST_THREADS = 1024  # PyTorch does not survive very many


MOST_THREADS = 1024  # PyTorch does not survive very many


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """The architecture."""

    name: str = "vgg16"  # a file in nnexp/models
    width: float = 1.0  # multiplies every channel count of the paper
    dropout: float = 0.0  # before the classifier; each model's YAML holds its paper's value
    stochastic_depth: float = 0.0  # chance to drop a block's residual branch, at the last block

    def __post_init__(self) -> None:
        check_name("model", "model.name", self.name)
        check_positive("model.width", self.width)
        check_range("model.dropout", self.dropout, 0.0, 1.0)
        check_range("model.stochastic_depth", self.stochastic_depth, 0.0, 1.0)


@dataclass(kw_only=True, slots=True)
class NormConfig:
    """The normalization layer, the same at every site unless `at` says otherwise."""

    name: str = "batch"  # a layer in nnexp/norms; none trains without
    eps: float = 1e-5  # inside the root, the same for every norm
    momentum: float = 0.1  # weight of the newest batch in BatchNorm's running statistics
    affine: bool = True  # learn γ and β, one pair a channel
    num_groups: int | None = None  # group norm; unset: the rule in nnexp/norms
    channels_per_group: int | None = None  # group norm; the other way to say it
    conv_bias: str = "auto"  # auto: a bias where no β follows; or always, never
    implementation: str = "torch"  # torch, or reference: the float64 formulas
    at: dict[str, str] = field(default_factory=dict)  # block → norm, for single blocks

    def __post_init__(self) -> None:
        check_name("norm", "norm.name", self.name)
        check_positive("norm.eps", self.eps)
        check_range("norm.momentum", self.momentum, 0.0, 1.0)
        check_word("norm.conv_bias", self.conv_bias)
        check_word("norm.implementation", self.implementation)
        for key, value in (
            ("norm.num_groups", self.num_groups),
            ("norm.channels_per_group", self.channels_per_group),
        ):
            if value is not None:
                check_count(key, value, 1)
        if self.num_groups is not None and self.channels_per_group is not None:
            raise ConfigError(
                "norm.num_groups and norm.channels_per_group are both set",
                "each decides the other: leave one out",
            )
        check_kind("norm.at", self.at, dict, "a name for each: norm.at.a=b")
        for block, name in self.at.items():
            check_name("norm", f"norm.at.{block}", name)


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """The images: where they come from, and how many of them."""

    name: str = "cifar10"  # where the images come from
    root: str | None = None  # folder: where train/ and test/ are; cifar: where the archive is
    cache_dir: str | None = None  # decoded images; unset: the user's cache folder
    train_images: int | None = None  # unset: all that the validation split leaves
    val_images: int = 5000  # cut from the training images, balanced over the classes
    test_images: int | None = None  # unset: all
    augment: bool = True  # random crop with padding 4, random horizontal flip

    def __post_init__(self) -> None:
        check_name("data", "data.name", self.name)
        check_count("data.val_images", self.val_images, 1)
        for key, value in (
            ("data.train_images", self.train_images),
            ("data.test_images", self.test_images),
        ):
            if value is not None:
                check_count(key, value, 1)


@dataclass(kw_only=True, slots=True)
class OptimizerConfig:
    """The optimizer, and the peak of its learning rate."""

    name: str = "sgd"  # sgd or adamw; each YAML holds the rates that suit it
    learning_rate: float = 0.02  # the peak, at batch size 128
    learning_rate_scaling: str = "linear"  # with batch size / 128: none, linear, sqrt
    momentum: float = 0.9  # sgd
    beta1: float = 0.9  # adamw
    beta2: float = 0.999  # adamw
    weight_decay: float = 5e-4  # on the weights of convolutions and linear layers
    decay_norm_and_bias: bool = False  # whether weight decay also pulls on γ, β and biases
    clip_norm: float | None = None  # largest global gradient norm; unset: no clipping

    def __post_init__(self) -> None:
        check_name("optimizer", "optimizer.name", self.name)
        check_positive("optimizer.learning_rate", self.learning_rate)
        check_word("optimizer.learning_rate_scaling", self.learning_rate_scaling)
        check_below_one("optimizer.momentum", self.momentum)
        check_below_one("optimizer.beta1", self.beta1)
        check_below_one("optimizer.beta2", self.beta2)
        check_not_negative("optimizer.weight_decay", self.weight_decay)
        if self.clip_norm is not None:
            check_positive("optimizer.clip_norm", self.clip_norm)


@dataclass(kw_only=True, slots=True)
class ScheduleConfig:
    """How the learning rate moves from step to step."""

    name: str = "cosine"  # what follows the warm-up
    warmup: float = 0.1  # share of all steps in which the rate rises linearly to its peak
    milestones: list[float] = field(default_factory=lambda: [0.5, 0.75])  # step: shares of a run
    factor: float = 0.1  # step: what each milestone multiplies the rate by

    def __post_init__(self) -> None:
        check_name("schedule", "schedule.name", self.name)
        check_range("schedule.warmup", self.warmup, 0.0, 1.0)
        check_positive("schedule.factor", self.factor)
        check_kind(
            "schedule.milestones",
            self.milestones,
            list,
            "a list: schedule.milestones=[0.5,0.75]",
        )
        for share in self.milestones:
            check_range("schedule.milestones", share, 0.0, 1.0)


@dataclass(kw_only=True, slots=True)
class TraceConfig:
    """What is written of the running statistics; never changes what is learned."""

    points: int = 50  # moments, from step 0 to the last, even in log; 0 for none
    channels: int = 0  # single channels of each layer that channels.csv also holds

    def __post_init__(self) -> None:
        check_count("trace.points", self.points, 0)
        check_count("trace.channels", self.channels, 0)


@dataclass(kw_only=True, slots=True)
class ProbeConfig:
    """At which steps the network itself is looked at; never changes what is learned."""

    points: int = 0  # moments, from the first step to the last, even in log; 0 for none
    images: int = 128  # training images, neither cropped nor flipped, that are looked at

    def __post_init__(self) -> None:
        check_count("probe.points", self.points, 0)
        check_count("probe.images", self.images, 2)


@dataclass(kw_only=True, slots=True)
class ExperimentConfig:
    """Everything that decides a run; equal settings give equal results."""

    model: ModelConfig = field(default_factory=ModelConfig)
    norm: NormConfig = field(default_factory=NormConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    trace: TraceConfig = field(default_factory=TraceConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    batch_size: int = 128  # images a step
    epochs: int = 200  # passes over the training images
    seed: int = 0  # of the weights, of the order of the images and of their augmentation
    init: str = "he"  # he: normal with variance 2 / fan_out; torch: PyTorch's own
    precision: str = "fp32"  # fp32, or bf16: convolutions in bfloat16, every norm in fp32
    scale: str = "full"  # the named size that set images and epochs
    study: str | None = None  # the named grid that the run was first made for
    device: str = "auto"  # auto: CUDA where there is one, else the CPU
    threads: int | None = None  # CPU threads; unset: PyTorch's choice
    runs_dir: str = "runs"  # where the run's folder goes
    tags: list[str] = field(default_factory=list)  # words to find the run by
    listeners: list[str] = field(default_factory=list)  # who is told how it goes: tensorboard

    def __post_init__(self) -> None:
        check_count("batch_size", self.batch_size, 1)
        check_count("epochs", self.epochs, 1)
        check_range("seed", self.seed, 0, 2**63 - 1)
        check_word("init", self.init)
        check_word("precision", self.precision)
        check_kind("tags", self.tags, list, "a list: tags=[a,b]")
        check_kind("listeners", self.listeners, list, "a list: listeners=[a,b]")
        if self.threads is not None:
            check_count("threads", self.threads, 1, MOST_THREADS)
