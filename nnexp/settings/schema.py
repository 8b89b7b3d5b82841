"""Settings: every default, its meaning and its limits, declared once."""

from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from nnexp.settings.declaring import Setting, declared, setting
from nnexp.settings.errors import ConfigError

MOST_THREADS = 1024  # PyTorch does not survive very many
SHARE = {"at_least": 0.0, "at_most": 1.0}
OPTIONS = "values for an entry of your own, which reads them as it likes"


class Part:
    """A part of the settings, whose values are checked as it is made."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for key, one in list_settings().items():
            if one.part is type(self):
                one.check(getattr(self, key.rpartition(".")[2]))


@dataclass(kw_only=True, slots=True)
class ModelConfig(Part):
    """The architecture."""

    name: str = setting("vgg16", "a file in nnexp/models", group="model")
    width: float = setting(1.0, "multiplies every channel count of the paper", above=0)
    dropout: float = setting(
        0.0, "before the classifier; each model's YAML holds its paper's value", **SHARE
    )
    stochastic_depth: float = setting(
        0.0, "chance to drop a block's residual branch, at the last block", **SHARE
    )
    options: dict[str, Any] = setting({}, OPTIONS)


@dataclass(kw_only=True, slots=True)
class NormConfig(Part):
    """The normalization layer, the same at every site unless `at` says otherwise."""

    name: str = setting("batch", "a layer in nnexp/norms; none trains without", group="norm")
    eps: float = setting(1e-5, "inside the root, the same for every norm", above=0)
    momentum: float = setting(0.1, "weight of the newest batch in running statistics", **SHARE)
    scale_momentum: bool = setting(
        False, "1 − (1 − momentum)^(N / 128) for the N images that share a running statistic"
    )
    affine: bool = setting(True, "learn γ and β, one pair a channel")
    num_groups: int | None = setting(
        None, "norms of groups; unset: the rule in nnexp/norms", at_least=1
    )
    channels_per_group: int | None = setting(
        None, "norms of groups; the other way to say it", at_least=1
    )
    batch_size: int = setting(32, "ghost: images of a batch that share a statistic", at_least=1)
    alpha: float = setting(1.0, "dynamic_tanh: what α starts at", above=0)
    r_max: float = setting(3.0, "batch_renorm: largest correction of the scale", at_least=1)
    d_max: float = setting(5.0, "batch_renorm: largest correction of the mean", at_least=0)
    renorm_steps: int = setting(
        100,
        "batch_renorm: steps as batch; d_max is reached after 5, r_max after 8 times as many",
        at_least=1,
    )
    conv_bias: str = setting(
        "auto",
        "auto: a bias where no β follows; or always, never",
        listed=("auto", "always", "never"),
    )
    implementation: str = setting(
        "torch", "torch, or reference: the float64 formulas", listed=("torch", "reference")
    )
    at: dict[str, str] = setting({}, "block → norm, for single blocks", group="norm")
    options: dict[str, Any] = setting({}, OPTIONS)

    def __post_init__(self) -> None:
        Part.__post_init__(self)
        if self.num_groups is not None and self.channels_per_group is not None:
            raise ConfigError(
                "norm.num_groups and norm.channels_per_group are both set",
                "each decides the other: leave one out",
            )


@dataclass(kw_only=True, slots=True)
class DataConfig(Part):
    """The images: where they come from, and how many of them."""

    name: str = setting("cifar10", "where the images come from", group="data")
    root: str | None = setting(
        None, "folder: where train/ and test/ are; cifar: where the archive is", identity=False
    )
    cache_dir: str | None = setting(
        None, "decoded images; unset: the user's cache folder", identity=False
    )
    train_images: int | None = setting(
        None, "unset: all that the validation split leaves", at_least=1
    )
    val_images: int = setting(
        5000, "cut from the training images, balanced over the classes", at_least=1
    )
    test_images: int | None = setting(None, "unset: all", at_least=1)
    augment: bool = setting(True, "random crop with padding 4, random horizontal flip")
    options: dict[str, Any] = setting({}, OPTIONS)


@dataclass(kw_only=True, slots=True)
class OptimizerConfig(Part):
    """The optimizer, and the peak of its learning rate."""

    name: str = setting(
        "sgd", "sgd or adamw; each YAML holds the rates that suit it", group="optimizer"
    )
    learning_rate: float = setting(0.02, "the peak, at batch size 128", above=0)
    learning_rate_scaling: str = setting(
        "linear", "with batch size / 128: none, linear, sqrt", listed=("none", "linear", "sqrt")
    )
    momentum: float = setting(0.9, "sgd", at_least=0, below=1)
    beta1: float = setting(0.9, "adamw", at_least=0, below=1)
    beta2: float = setting(0.999, "adamw", at_least=0, below=1)
    weight_decay: float = setting(
        5e-4, "on the weights of convolutions and linear layers", at_least=0
    )
    decay_norm_and_bias: bool = setting(False, "whether weight decay also pulls on γ, β and biases")
    clip_norm: float | None = setting(
        None, "largest global gradient norm; unset: no clipping", above=0
    )
    options: dict[str, Any] = setting({}, OPTIONS)


@dataclass(kw_only=True, slots=True)
class ScheduleConfig(Part):
    """How the learning rate moves from step to step."""

    name: str = setting("cosine", "what follows the warm-up", group="schedule")
    warmup: float = setting(
        0.1, "share of all steps in which the rate rises linearly to its peak", **SHARE
    )
    milestones: list[float] = setting([0.5, 0.75], "step: shares of a run", **SHARE)
    factor: float = setting(0.1, "step: what each milestone multiplies the rate by", above=0)
    options: dict[str, Any] = setting({}, OPTIONS)


@dataclass(kw_only=True, slots=True)
class TraceConfig(Part):
    """What is written of the running statistics; never changes what is learned."""

    points: int = setting(
        50,
        "time points, from step 0 to the last, evenly spaced in log; 0 for none",
        at_least=0,
        identity=False,
    )
    channels: int = setting(
        0, "single channels of each layer that channels.csv also holds", at_least=0, identity=False
    )


@dataclass(kw_only=True, slots=True)
class ProbeConfig(Part):
    """At which steps the network itself is looked at; never changes what is learned."""

    points: int = setting(
        0,
        "time points, from the first step to the last, evenly spaced in log; 0 for none",
        at_least=0,
        identity=False,
    )
    images: int = setting(
        128,
        "training images, neither cropped nor flipped, that are looked at",
        at_least=2,
        identity=False,
    )
    similarity: bool = setting(
        False, "also how alike the activations of different images are", identity=False
    )
    landscape: bool = setting(
        False, "also the loss and its gradient along the gradient, at 7 rates", identity=False
    )


@dataclass(kw_only=True, slots=True)
class EvaluationConfig(Part):
    """Other statistics that BatchNorm is evaluated with at the end; changes nothing learned."""

    population_images: int = setting(
        0,
        "training images that exact statistics are taken over; 0: only running ones are used",
        at_least=0,
        identity=False,
    )
    augment: bool = setting(False, "crop and flip these images as in training", identity=False)
    batch_size: int | None = setting(
        None,
        "images that share statistics where each batch has its own; unset: as in training",
        at_least=2,
        identity=False,
    )


@dataclass(kw_only=True, slots=True)
class ExperimentConfig(Part):
    """Everything that decides a run; equal settings give equal results."""

    model: ModelConfig = field(default_factory=ModelConfig)
    norm: NormConfig = field(default_factory=NormConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    trace: TraceConfig = field(default_factory=TraceConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    batch_size: int = setting(128, "images a step", at_least=1)
    epochs: int | None = setting(200, "passes over the images; null with max_steps", at_least=1)
    max_steps: int | None = setting(None, "optimizer steps, in the place of epochs", at_least=1)
    seed: int = setting(
        0,
        "of the weights, of the order of the images and of their augmentation",
        at_least=0,
        at_most=2**63 - 1,
    )
    init: str = setting(
        "he",
        "he: convolutions normal with variance 2 / fan_out (others: see nnexp show); torch: "
        "PyTorch's own; fixup, skipinit: he, and branches that start at 0, for residual networks",
        listed=("he", "torch", "fixup", "skipinit"),
    )
    precision: str = setting(
        "fp32",
        "fp32, or bf16: convolutions in bfloat16, every norm in fp32",
        listed=("fp32", "bf16"),
    )
    memory_format: str = setting(
        "auto",
        "of feature maps: auto (nhwc on a CPU, where it is faster), nchw or nhwc",
        listed=("auto", "nchw", "nhwc"),
    )
    step: str = setting(
        "auto",
        "how steps are executed: auto (eager), eager, captured (CUDA graphs) or compiled",
        listed=("auto", "eager", "captured", "compiled"),
    )
    tf32: bool = setting(False, "CUDA: matrix products and convolutions in TensorFloat-32")
    deterministic: bool = setting(
        True, "CUDA: cuDNN's kernels that give the same bits each time, not the fastest ones"
    )
    scale: str = setting("full", "the named size that set images and epochs", identity=False)
    study: str | None = setting(
        None, "the study (a grid with a name) that the run was first trained for", identity=False
    )
    device: str = setting(
        "auto", "auto: CUDA where there is one, else the CPU; mps, xpu: untested", identity=False
    )
    threads: int | None = setting(
        None,
        "CPU threads; unset: PyTorch's choice",
        at_least=1,
        at_most=MOST_THREADS,
        identity=False,
    )
    runs_dir: str = setting("runs", "where the run's folder goes", identity=False)
    tags: list[str] = setting([], "words to find the run by", identity=False)
    plugins: list[str] = setting(
        [],
        "Python files or modules with entries of your own; only where it is typed",
        identity=False,
    )
    listeners: list[str] = setting(
        [], "what else is told of the run's progress", group="listeners", identity=False
    )
    code: dict[str, str] = setting({}, "which code of your own the run uses; filled by nnexp")

    def __post_init__(self) -> None:
        Part.__post_init__(self)
        if self.max_steps is not None:
            self.epochs = None  # what the steps come to depends on the images
        elif self.epochs is None:
            raise ConfigError("neither epochs nor max_steps is set", "write epochs=N")

    def check(self) -> None:
        """Check every value again: Python code may have changed some.

        Raises:
            ConfigError: A value cannot be.
        """
        for part in (self, *(getattr(self, one.name) for one in fields(self))):
            if isinstance(part, Part):
                part.__post_init__()


@cache
def list_settings() -> dict[str, Setting]:
    """Return every setting by its dotted name."""
    return {one.key: one for one in declared(ExperimentConfig)}
