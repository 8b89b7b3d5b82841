"""`nnexp show`: a model before training, as tables."""

from rich import box
from rich.markup import escape
from rich.table import Table

from nnexp.console import open_console, print_table
from nnexp.models.sketch import Sketch
from nnexp.norms import NORMS, NormSpec
from nnexp.settings import ExperimentConfig


def block_table(sketch: Sketch) -> Table:
    """Lay the blocks out for the terminal."""
    table = Table("block", "layers", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("output", justify="right")
    table.add_column("parameters", justify="right")
    for block in sketch.blocks:
        table.add_row(block.name, block.layers, block.output, f"{block.parameters:,}")
    return table


def site_table(sketch: Sketch) -> Table:
    """Lay the norm sites out for the terminal."""
    table = Table("norm site", "norm", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("C×H×W", justify="right")
    table.add_column("one statistic over")
    for heading in ("values per statistic", "groups", "eps", "parameters"):
        table.add_column(heading, justify="right")
    for site in sketch.sites:
        table.add_row(
            site.layer,
            site.norm,
            f"{site.channels}×{site.height}×{site.width}",
            site.axes,
            f"{site.values_per_statistic:,}" if site.values_per_statistic else "–",
            str(site.groups) if site.groups else "–",
            f"{site.eps:g}" if site.eps else "–",
            f"{site.parameters:,}",
        )
    return table


def policies(config: ExperimentConfig) -> list[str]:
    """Return, one line each, what is the same for every norm unless a setting says otherwise."""
    bias = {
        "auto": "a convolution has a bias exactly where nothing after it supplies one",
        "always": "every convolution has a bias",
        "never": "no convolution before a norm has a bias",
    }
    init = {
        "he": "normal; variance 2 / fan_out (convolutions), 2 / fan_in (hidden linear layers), "
        "std 0.01 (classifier); biases 0, γ 1, β 0",
        "torch": "PyTorch's own",
        "skipinit": "as he; each residual branch times a learned scalar that starts at 0",
        "fixup": "as he, with the first convolution of each of L branches times L^(-1/2), its last "
        "0, the classifier 0; scalar biases, and a scalar multiplier a branch, learn at a tenth of "
        "the rate",
    }
    learned = NORMS[config.norm.name].learned(config.norm.affine)
    decayed = "γ, β and biases too" if config.optimizer.decay_norm_and_bias else "weights only"
    return [
        f"bias            norm.conv_bias={config.norm.conv_bias}: {bias[config.norm.conv_bias]}",
        f"initialization  init={config.init}: {init[config.init]}",
        f"weight decay    {config.optimizer.weight_decay:g} on {decayed}",
        f"implementation  {config.norm.implementation}, {_momentum(config)}"
        f"{f'{learned} learned' if learned else 'no γ and β'}",
    ]


def _momentum(config: ExperimentConfig) -> str:
    """Return the weight of the newest batch in running statistics; nothing where there are none."""
    names = dict.fromkeys([config.norm.name, *config.norm.at.values()])
    used = [
        NormSpec(norm=norm, block="", channels=1, config=config.norm, batch_size=config.batch_size)
        for norm in names
        if (statistic := NORMS[norm].statistic) and statistic.stored
    ]
    if not used:
        return ""
    text = f"momentum {config.norm.momentum:g}"
    if config.norm.scale_momentum:
        scaled = [f"{spec.momentum:.4g} in {spec.norm}" for spec in used]
        text = ", ".join([f"{text} at 128 images", *scaled])
    return f"{text}, "


def show_page(config: ExperimentConfig) -> None:
    """Print a model before training: blocks, parameters, norm sites, what is the same for all."""
    from nnexp.cli.terminal import describe_norm
    from nnexp.models.sketch import sketch_model

    sketch = sketch_model(config)
    console = open_console()
    console.print(f"[bold]{config.model.name}[/] · norm [bold]{escape(describe_norm(config))}[/]")
    console.print(
        f"{sketch.parameters:,} parameters, {sketch.norm_parameters:,} of them in norms · "
        f"batch size {config.batch_size}\n"
    )
    print_table(console, block_table(sketch))
    print_table(console, site_table(sketch))
    for line in policies(config):
        console.print(escape(line))
