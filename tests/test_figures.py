import io
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image
from report_runs import write_curves, write_full, write_study, write_traces
from results import settings, write_run, write_seeds

from nnexp.cli.app import main
from nnexp.compare import load_runs, read_rows
from nnexp.compare.comparison import Question, make_comparison
from nnexp.figures import (
    PLOTS,
    draw,
    numbers_path,
    prepare,
    save_figure,
    write_figure,
    write_numbers,
)
from nnexp.figures.chance import Chance
from nnexp.figures.colours import (
    DIVERGED_MARKER,
    SPARE_COLOURS,
    STYLES,
    style_of,
    variant_of,
)
from nnexp.figures.curves import draw_curves, mean_curve
from nnexp.figures.dots import draw_dots
from nnexp.figures.drawing import log_ticks, open_panels, step_ticks, styled, wrapped
from nnexp.figures.heatmap import draw_heatmap
from nnexp.figures.lines import draw_lines, over_batch_size, over_rates
from nnexp.figures.probes import over_steps, through_depth
from nnexp.figures.series import make_panels
from nnexp.norms import NORMS
from nnexp.report.arms import Arms
from nnexp.report.curves import find_curves
from nnexp.report.sentences import short_answer
from nnexp.settings import ConfigError, NormConfig

# Machado, Oliveira and Fernandes (2009), IEEE TVCG 15:1291, severity 1; in linear RGB.
VISIONS = {
    "trichromat": np.eye(3),
    "protanope": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranope": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanope": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.072175],
        [0.0193339, 0.119192, 0.9503041],
    ]
)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = TO_XYZ @ rgb / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_of_any_two_norms_differ_to_every_kind_of_colour_vision(vision):
    seen = {
        norm: lab(np.clip(np.array(VISIONS[vision]) @ linear(style.colour), 0, 1))
        for norm, style in STYLES.items()
    }
    for first, second in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[first] - seen[second]) > 17, (first, second)


def test_colours_differ_in_grey_print_and_stand_out_from_white():
    first = list(STYLES.values())[:6]
    lightness = sorted(lab(linear(style.colour))[0] for style in first)
    assert np.diff(lightness).min() > 6
    luminance = [(TO_XYZ @ linear(style.colour))[1] for style in STYLES.values()]
    assert all(1.05 / (one + 0.05) > 3 for one in luminance)


def test_every_norm_has_a_colour_of_its_own_and_a_marker_with_dashes_of_its_own():
    assert set(NORMS) <= set(STYLES)
    styles = list(STYLES.values())
    assert len({style.colour for style in styles}) == len(styles)
    assert len({style.dashes for style in styles}) == len(styles)
    assert len({style.marker for style in styles[:6]}) == 6
    assert not {style.marker for style in styles[:6]} & {style.marker for style in styles[6:]}


@pytest.mark.parametrize("vision", VISIONS)
def test_spare_colours_differ_from_all_others_and_stand_out_from_white(vision):
    colours = [*SPARE_COLOURS, *(style.colour for style in STYLES.values())]
    seen = {one: lab(np.clip(np.array(VISIONS[vision]) @ linear(one), 0, 1)) for one in colours}
    for spare, other in itertools.combinations(colours, 2):
        assert np.linalg.norm(seen[spare] - seen[other]) > 17, (spare, other)
    assert all(1.05 / ((TO_XYZ @ linear(one))[1] + 0.05) > 3 for one in SPARE_COLOURS)


def test_norm_of_a_plug_in_keeps_a_spare_style_that_depends_on_its_name_alone():
    assert style_of("mine").colour == "#a09070"
    assert style_of("mine") == style_of("mine") != style_of("yours")
    styles = [style_of(f"mine{number}") for number in range(1000)]
    assert {style.colour for style in styles} == set(SPARE_COLOURS)
    assert not {style.marker for style in styles} & {style.marker for style in STYLES.values()}


def test_variants_of_a_norm_are_shades_of_its_colour():
    base = STYLES["group"]
    assert variant_of(base, 0) == base
    lightness = [lab(linear(variant_of(base, n).colour))[0] for n in range(4)]
    assert lightness == sorted(lightness)
    assert len({variant_of(base, n).marker for n in range(4)}) == 4


def test_error_figure_draws_mean_and_sample_deviation_of_each_cell():
    write_study(Path("runs"))
    rows = read_rows()
    figure = draw_lines(rows, over_batch_size("test_accuracy"))
    (axes,) = figure.axes
    (line,) = [line for line in axes.get_lines() if line.get_label() == "group"]
    errors = [
        [100 - 100 * row["test_accuracy"] for row in rows if is_cell(row, "group", size)]
        for size in (2, 32)
    ]
    means, spreads = np.mean(errors, axis=1), np.std(errors, axis=1, ddof=1)
    assert list(line.get_xdata()) == [2, 32]
    assert np.allclose(line.get_ydata(), means)
    (band,) = [
        one for one in axes.collections if to_hex(one.get_facecolor()[0]) == line.get_color()
    ]
    corners = {tuple(np.round(corner, 9)) for corner in band.get_paths()[0].vertices}
    for x, mean, spread in zip((2, 32), means, spreads, strict=True):
        assert {(x, round(mean - spread, 9)), (x, round(mean + spread, 9))} <= corners
    assert axes.get_ylabel() == "test error %"
    assert axes.get_xscale() == "log"


def is_cell(row, norm: str, batch_size: int) -> bool:
    return (row["norm"], row["batch_size"]) == (norm, batch_size)


def test_each_other_setting_that_varies_makes_a_panel_and_norms_keep_their_colours():
    write_study(Path("runs"), rates=(0.005, 0.02))
    figure = draw_lines(read_rows(), over_batch_size("test_accuracy"))
    assert [axes.get_title("left") for axes in figure.axes] == [
        "learning\u00a0rate\u00a00.005",
        "learning\u00a0rate\u00a00.02",
    ]
    for axes in figure.axes:
        drawn = {line.get_label(): line.get_color() for line in axes.get_lines()}
        assert all(drawn[norm] == STYLES[norm].colour for norm in ("batch", "group", "none"))


def test_what_diverged_altogether_is_marked_at_the_bad_end_and_survivors_are_hollow():
    write_study(Path("runs"), rates=(0.005, 0.02), batch_sizes=(32,))
    for seed in (0, 1, 2):
        write_full(Path("runs"), "none", None, rate=0.5, seed=seed, status="diverged")
        end = (
            {"accuracy": 0.4, "status": "done"}
            if seed
            else {"accuracy": None, "status": "diverged"}
        )
        write_full(Path("runs"), "batch", rate=0.5, seed=seed, **end)
    figure = draw_lines(read_rows(), over_rates("test_accuracy"))
    assert "hollow: without diverged runs; ×: all diverged" in all_text(figure)
    (axes,) = figure.axes
    (cross,) = [line for line in axes.get_lines() if line.get_marker() == DIVERGED_MARKER]
    assert (cross.get_color(), cross.get_xdata()) == (STYLES["none"].colour, [0.5])
    assert cross.get_ydata()[0] < 0.1  # of the panel's height
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == "white"]
    assert [line.get_xdata() for line in hollow] == [[0.5]]
    assert hollow[0].get_color() == STYLES["batch"].colour


def test_a_single_seed_is_not_drawn_as_what_is_left_of_diverged_ones():
    write_study(Path("runs"), seeds=(0,))
    figure = draw("error", "runs")
    (axes,) = figure.axes
    assert "white" not in {line.get_markerfacecolor() for line in axes.get_lines()}
    assert "diverged" not in all_text(figure)


def all_text(figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")


def test_norms_own_settings_make_lines_and_are_named():
    for seed, groups, size in itertools.product((0, 1), (None, 4, 8), (2, 8)):
        norm = NormConfig(name="group", num_groups=groups)
        config = replace(settings(seed=seed, batch_size=size), norm=norm)
        write_run(Path("runs"), config, 0.5)
    (panel,) = make_panels(read_rows(), "test_accuracy", "batch_size")
    assert [line.label for line in panel.lines] == ["num groups 4", "num groups 8", "group"]


def test_norm_of_a_block_has_one_name_in_figures_and_sentences():
    for at, size, seed in itertools.product(({}, {"conv1": "layer"}), (8, 32), range(3)):
        norm = NormConfig(name="batch", at=at)
        config = replace(settings(seed=seed, batch_size=size), norm=norm)
        write_run(Path("runs"), config, 0.5 + 0.05 * len(at) + 0.001 * seed)
    drawn = {
        line.label for line in make_panels(read_rows(), "test_accuracy", "batch_size")[0].lines
    }
    assert drawn == {"one norm everywhere", "at conv1: layer"}
    question = Question(rows=["norm.at"], columns=["batch_size"], against="norm.at={}")
    said = " ".join(short_answer(make_comparison(read_rows(), question)))
    assert all(name in said for name in drawn)
    assert all(name in all_text(draw("dots", "runs", rows=["norm.at"])) for name in drawn)


@pytest.mark.parametrize("lost", [[4.0, 2.0, float("nan"), 3.0], [4.0, 2.0]])
def test_curve_is_mean_and_deviation_and_ends_with_the_first_seed_that_is_lost(lost):
    tables = [
        [{"epoch": float(epoch), "val_loss": loss} for epoch, loss in enumerate(losses, 1)]
        for losses in ([2.0, 1.0, 1.0, 1.0], lost)
    ]
    epochs, means, deviations = mean_curve(tables, "val_loss")
    assert list(epochs) == [1, 2]
    assert list(means) == [3, 1.5]
    assert np.allclose(deviations, [np.std([2, 4], ddof=1), np.std([1, 2], ddof=1)])


def test_curves_share_one_scale_between_training_and_validation():
    write_study(Path("runs"), batch_sizes=(32,))
    figure = draw_curves(read_rows())
    train_loss, val_loss, train_accuracy, val_accuracy = figure.axes
    assert train_loss.get_ylim() == val_loss.get_ylim()
    assert train_accuracy.get_ylim() == val_accuracy.get_ylim()


def test_curve_of_one_epoch_is_a_point_and_epochs_are_whole():
    for norm in ("batch", "none"):
        write_curves(write_full(Path("runs"), norm, 0.5), [1.0], 0.5)
    for one in (figure := draw_curves(read_rows())).axes:
        assert [line.get_marker() for line in one.lines[:2]] == [
            style_of(norm).marker for norm in ("batch", "none")
        ]
        assert [tick for tick in one.get_xticks() if 0 < tick < 2] == [1]
    legend = figure.legends[0].legend_handles
    assert [line.get_marker() for line in legend] == [line.get_marker() for line in one.lines[:2]]
    ((_, panels),) = find_curves(read_rows(), Arms(read_rows()))[0].rows
    assert [label for label, _ in panels[0].x_ticks] == ["1"]


def test_curves_of_too_many_settings_are_refused():
    for size in range(1, 27):
        run = write_full(Path("runs"), "batch", 0.5, size)
        write_curves(run, [1.0], 0.5)
    with pytest.raises(ConfigError, match="26 combinations"):
        draw_curves(read_rows())


def test_dots_show_every_seed():
    write_study(Path("runs"), batch_sizes=(32,))
    rows = read_rows()
    answer = make_comparison(rows, Question(rows=["norm"], columns=["batch_size"]))
    (axes,) = draw_dots(answer.grids, "test_accuracy").axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["batch", "group", "none"]
    drawn = {y for line in axes.get_lines() if line.get_markersize() < 3 for y in line.get_xdata()}
    assert drawn == {100 * row["test_accuracy"] for row in rows}


def test_heat_map_is_the_table_of_the_channels():
    run = write_full(Path("runs"), "batch", 0.5)
    write_traces(run, "channels")
    figure = draw_heatmap(run, "conv2.norm")
    image = figure.axes[0].get_images()[0].get_array()
    table = pd.read_csv(run.channels)
    part = table[(table["layer"] == "conv2.norm") & (table["quantity"] == "running_mean")]
    assert image is not None
    assert image.shape == (4, 5)  # channels, steps
    for row in part.itertuples():
        assert image[row.channel, sorted(set(part["step"])).index(row.step)] == row.value


def test_heat_map_of_a_run_without_channels_says_how_to_get_them():
    run = write_full(Path("runs"), "batch", 0.5)
    with pytest.raises(ConfigError) as caught:
        draw_heatmap(run)
    assert "trace.channels=16" in caught.value.remedy


@pytest.fixture
def everything() -> None:
    """Write runs of which every kind of figure can be drawn."""
    write_study(Path("runs"), rates=(0.005, 0.02), seeds=(0, 1))
    run = write_full(Path("more"), "batch", 0.5, 64)
    write_traces(run, "channels")
    run.probes.write_text(PROBES, "utf-8")


SOURCES = {"heatmap": "more", "traces": "more", "probes": "more"}
PROBES = """epoch,step,layer,quantity,value
0,0,a,covariate_shift,0.2
0,0,b,covariate_shift,0.4
0,0,c,covariate_shift,inf
0,3,a,covariate_shift,0.1
0,0,a,activation_drift,0.01
0,3,a,activation_drift,0.02
0,0,a,activation_std,1.0
0,0,b,activation_std,0.5
0,0,a,gradient_norm,0.3
0,0,b,gradient_norm,0.0
"""


@pytest.mark.usefixtures("everything")
def test_probes_are_medians_over_layers_and_go_through_the_depth():
    (folder,) = Path("more").iterdir()
    table = pd.read_csv(folder / "probes.csv")
    shift = over_steps(table, "covariate_shift")  # what is not finite takes no part
    assert shift.to_dict() == pytest.approx({0: 0.3, 3: 0.1})
    assert through_depth(table, "activation_std").to_dict() == {1: 1.0, 2: 0.5}


def test_probes_have_a_panel_for_each_quantity_that_there_is_something_for():
    run = write_full(Path("runs"), "batch", 0.5)
    run.probes.write_text(PROBES, "utf-8")  # of an earlier version
    assert len(draw("probes", "runs").axes) == 4
    similar = "0,0,a,activation_similarity,-0.01\n0,0,b,activation_similarity,0.5\n"  # on request
    run.probes.write_text(PROBES + similar, "utf-8")
    plan = prepare("probes", read_rows(), Question())
    assert len(plan.figure().axes) == 5
    assert [row["mean"] for row in plan.numbers() if "similarity" in row["quantity"]] == [
        -0.01,
        0.5,
    ]
    resumed = "0,3,a,scaled_gradient,0.5\n0,3,a,matched_shift,0.5\n"  # none at step 0
    run.probes.write_text(PROBES + resumed, "utf-8")
    labels = [axes.get_ylabel() for axes in draw("probes", "runs").axes]
    assert labels[:2] == ["covariate shift", "shift at a matched step"]
    assert len(labels) == 5


def test_last_step_of_a_probe_is_left_out_and_said_where_its_learning_rate_is_almost_zero():
    run = write_full(Path("runs"), "batch", 0.5)
    run.probes.write_text(PROBES, "utf-8")
    rates = "epoch,step,learning_rate,train_loss\n1,2,0.02,1\n2,4,{},1\n"
    for last, steps in (("0.01", [0, 3]), ("1e-06", [0])):
        run.metrics.write_text(rates.format(last), "utf-8")
        figure = draw("probes", "runs")
        drawn = figure.axes[0].get_lines()[0].get_xdata()
        assert list(drawn) == steps
        assert ("without the last step" in all_text(figure)) == (steps == [0])


def test_lines_at_one_place_stand_apart_on_the_paper_and_not_in_their_values():
    write_study(Path("runs"))
    figure = draw_lines(read_rows(), over_batch_size("test_accuracy"))
    figure.draw_without_rendering()
    lines = [one for one in figure.axes[0].get_lines() if len(one.get_xydata()) == 2]
    assert {tuple(one.get_xdata()) for one in lines} == {(2, 32)}
    first = sorted(one.get_transform().transform((2, 50))[0] for one in lines)
    assert len(first) == 3
    assert np.diff(first).min() > 2  # pixels at 100 to the inch


def test_seeds_of_one_value_stand_apart():
    for norm in ("batch", "none"):
        write_seeds(Path("runs"), dict.fromkeys(range(3), 0.5), norm)
    (axes,) = draw("dots", "runs").axes
    for seeds in (one for one in axes.get_lines() if one.get_markersize() < 3):
        assert list(seeds.get_xdata()) == [50, 50, 50]
        assert np.diff(np.sort(seeds.get_ydata())).min() > 0.08  # of a row


def test_no_seed_is_hidden_by_the_mean():
    write_study(Path("runs"), batch_sizes=(32,))
    (axes,) = draw("dots", "runs").axes
    seeds = {y for one in axes.get_lines() if one.get_markersize() < 3 for y in one.get_ydata()}
    means = {y for one in axes.get_lines() if one.get_markersize() > 3 for y in one.get_ydata()}
    assert min(abs(seed - mean) for seed in seeds for mean in means) > 0.3  # of a row


@pytest.mark.parametrize("norms", [list(NORMS), [f"mine{number}" for number in range(100)]])
def test_no_norm_and_no_variant_of_one_has_the_marker_of_a_diverged_run(norms):
    styles = [variant_of(style_of(norm), position) for norm in norms for position in range(8)]
    assert not {style.marker for style in styles} & {DIVERGED_MARKER, "X"}  # X: the same, filled


@pytest.mark.parametrize(("data", "lines"), [("cifar10", 1), ("folder", 0)])
def test_chance_is_a_dotted_line_where_it_is_known(data, lines):
    write_seeds(Path("runs"), {0: 0.1, 1: 0.09}, "none", batch_size=2)
    write_seeds(Path("runs"), {0: 0.3, 1: 0.35}, "none", batch_size=32)
    rows = [{**row, "data.name": data} for row in read_rows()]
    (axes,) = draw("error", rows).axes
    across = [line for line in axes.get_lines() if list(line.get_xdata()) == [0, 1]]
    assert [list(line.get_ydata()) for line in across] == [[90, 90]] * lines


def test_png_file_has_300_dots_an_inch_and_one_of_a_page_200():
    write_study(Path("runs"))
    figure = draw("error", "runs")
    save_figure(figure, Path("error.png"))
    write_figure(figure, of_page := io.BytesIO(), "png")
    for file, dots in ((Path("error.png"), 300), (of_page, 200)):
        with Image.open(file) as image:
            assert image.size == tuple(int(dots * one) for one in figure.get_size_inches())


@pytest.mark.parametrize(
    ("accuracy", "images", "at_chance"),
    [(0.10, 500, True), (0.13, 500, True), (0.14, 500, False), (0.05, 500, True), (0.13, 9000, 0)],
)
def test_at_chance_is_what_guessing_gives_in_more_than_one_of_a_hundred_cases(
    accuracy, images, at_chance
):
    assert Chance(0.1, images).explains([accuracy]) == bool(at_chance)
    assert not Chance(0.1, images).explains([accuracy, 0.9])


@pytest.mark.parametrize(("low", "high"), [(0.2, 1.1), (0.01, 30), (1e-6, 5), (0.9, 1.0)])
def test_labels_of_a_log_axis_do_not_meet(low, high):
    with styled():
        figure, (axes,) = open_panels(1, 1, 1.6)
        axes.plot([0, 1], [low, high])
        log_ticks(axes)
    figure.draw_without_rendering()
    labels = [one for one in axes.get_yticklabels(which="both") if one.get_text()]
    boxes = [one.get_window_extent() for one in labels if one.get_visible()]
    assert len(boxes) >= 3
    assert not [1 for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]


@pytest.mark.parametrize("steps", [1, 500, 8000, 400_000, 30_000_000])
def test_labels_of_an_axis_of_steps_do_not_meet(steps):
    with styled():
        figure, (axes, _) = open_panels(2, 2, 1.6)
        axes.plot([0, steps], [1, 2])
        step_ticks(axes)
    figure.draw_without_rendering()
    labels = [one.get_window_extent() for one in axes.get_xticklabels() if one.get_visible()]
    assert len(labels) >= 2
    assert not [1 for a, b in itertools.combinations(labels, 2) if a.overlaps(b)]


def test_long_names_and_names_in_chinese_are_broken_into_lines():
    assert wrapped("norm " * 12, 28).count("\n") == 2
    assert max(map(len, wrapped("归一化" * 20, 28).split("\n"))) <= 14
    assert wrapped("batch", 28) == "batch"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_names_in_any_script_can_be_drawn(form):
    write_study(Path("runs"), batch_sizes=(2, 32))
    names = {"batch": "归一化" * 12, "group": "ناعم", "none": "$x_" + "y" * 90}
    rows = [{**row, "norm": names[row["norm"]]} for row in read_rows()]
    file = io.BytesIO()
    write_figure(draw("error", rows), file, form)
    assert file.getvalue()


@pytest.mark.usefixtures("everything")
def test_text_of_an_svg_can_be_searched():
    file = io.BytesIO()
    write_figure(draw("error", "runs"), file, "svg")
    assert ">test error %</text>" in file.getvalue().decode()


def test_figure_of_folders_is_that_of_the_runs_they_hold(capsys):
    write_study(Path("runs"))
    files = [io.BytesIO() for _ in range(4)]
    for file, runs in zip(files, ("runs", Path("runs"), read_rows(), load_runs()), strict=True):
        write_figure(draw("error", runs), file, "svg")
    assert len({file.getvalue() for file in files}) == 1
    assert capsys.readouterr() == ("", "")


def test_every_kind_of_figure_says_what_it_shows_and_needs():
    for name, plot in PLOTS.items():
        assert plot.name == name
        assert plot.summary
        assert plot.needs


@pytest.mark.usefixtures("everything")
def test_probes_of_runs_without_any_say_how_to_get_them():
    with pytest.raises(ConfigError, match=r"probe\.points=20"):
        draw("probes", "runs")


@pytest.mark.parametrize("kind", PLOTS)
@pytest.mark.usefixtures("everything")
def test_figure_of_each_kind_has_no_text_below_seven_points(kind):
    figure = draw(kind, read_rows([SOURCES.get(kind, "runs")]))
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert texts
    assert min(text.get_fontsize() for text in texts) >= 7


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
@pytest.mark.usefixtures("everything")
def test_figure_has_the_same_bytes_on_every_day(form):
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        write_figure(draw("error", read_rows()), file, form)
    assert files[0].getvalue() == files[1].getvalue()
    assert b"2026" not in files[0].getvalue()


@pytest.mark.parametrize("kind", PLOTS)
@pytest.mark.usefixtures("everything")
def test_command_writes_the_figure_and_says_where(kind, capsys):
    with pytest.raises(SystemExit) as end:
        main(["figure", kind, SOURCES.get(kind, "runs"), "-o", f"{kind}.svg"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"figure: {kind}.svg\nnumbers: {kind}.csv\n"
    assert Path(f"{kind}.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize("kind", ["error", "rates", "curves", "traces", "probes"])
@pytest.mark.usefixtures("everything")
def test_numbers_beside_a_figure_are_those_of_its_lines(kind):
    rows = read_rows([SOURCES.get(kind, "runs")])
    plan = prepare(kind, rows, Question())
    numbers_of(plan, kind)
    table = pd.read_csv(f"{kind}.csv")
    written = set(zip(table["x"], table["mean"], strict=True))
    lines = [line for axes in plan.figure().axes for line in axes.get_lines()]
    drawn = {tuple(point) for line in lines for point in line.get_xydata()}
    assert written == drawn
    assert list(table.columns)[:3] == ["panel", "line", "quantity"]


def numbers_of(plan, name: str) -> None:
    write_numbers(plan.numbers(), numbers_path(Path(f"{name}.svg")))


def test_numbers_have_deviations_seeds_and_what_diverged():
    write_study(Path("runs"), batch_sizes=(2,), seeds=(0, 1))
    for seed in (0, 1):
        write_full(Path("runs"), "none", None, 32, seed=seed, status="diverged")
    numbers_of(prepare("error", "runs", Question()), "error")
    table = pd.read_csv("error.csv")
    ran = [row for row in read_rows() if is_cell(row, "group", 2)]
    errors = [100 - 100 * row["test_accuracy"] for row in ran]
    group = table.loc[table["line"] == "group"].iloc[0]
    assert group["quantity"] == "test error %"
    assert (group["mean"], group["deviation"]) == pytest.approx(
        (np.mean(errors), np.std(errors, ddof=1))
    )
    assert (group["n"], group["diverged"]) == (2, 0)
    lost = table.loc[(table["line"] == "none") & (table["x"] == 32)].iloc[0]
    assert (lost["n"], lost["diverged"], np.isnan(lost["mean"])) == (0, 2, True)


def test_numbers_of_dots_are_a_row_for_each_seed_and_each_mean():
    write_study(Path("runs"), batch_sizes=(32,))
    numbers_of(prepare("dots", "runs", Question()), "dots")
    table = pd.read_csv("dots.csv")
    seeds = table.dropna(subset="seed")
    accuracies = {(r["norm"], r["seed"], 100 * r["test_accuracy"]) for r in read_rows()}
    assert set(zip(seeds["line"], seeds["seed"], seeds["value"], strict=True)) == accuracies
    means = table.dropna(subset="mean").set_index("line")["mean"]
    assert means.to_dict() == pytest.approx(seeds.groupby("line")["value"].mean().to_dict())


@pytest.mark.usefixtures("everything")
def test_numbers_of_a_heat_map_are_its_cells():
    (folder,) = Path("more").iterdir()
    numbers_of(prepare("heatmap", "more", Question(), "conv2.norm"), "heatmap")
    table = pd.read_csv("heatmap.csv")
    channels = pd.read_csv(folder / "channels.csv").query("layer == 'conv2.norm'")
    assert table["value"].tolist() == channels["value"].tolist()
    assert set(table["line"]) == {"channel 0", "channel 1", "channel 2", "channel 3"}


@pytest.mark.usefixtures("everything")
def test_numbers_never_replace_a_table_of_a_run(capsys):
    (folder,) = Path("more").iterdir()
    before = (folder / "traces.csv").read_bytes()
    with pytest.raises(SystemExit) as end:
        main(["figure", "traces", "more", "-o", str(folder / "traces.png")])
    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert (folder / "traces.csv").read_bytes() == before
    assert not (folder / "traces.png").exists()


def test_numbers_replace_those_of_an_earlier_figure():
    write_study(Path("runs"))
    for kind in ("dots", "error"):
        numbers_of(prepare(kind, "runs", Question()), "figure")
    assert "deviation" in pd.read_csv("figure.csv").columns
    assert "seed" not in pd.read_csv("figure.csv").columns


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["erorr"], "did you mean error"),
        (["heatmap"], "name one run"),
        (["error", "--where", "batch_size=2"], "all runs have batch_size=2"),
        (["rates", "--best", "optimizer.learning_rate"], "leave out --best"),
        (["error", "-o", "x.jpg"], ".png, .svg, .pdf"),
        (["dots", "--layer", "conv1"], "--layer is for traces, heatmap"),
        (["curves", "--rows", "norm"], "--rows is for dots"),
        (["curves", "--metric", "test_loss"], "--metric is for error, rates, dots"),
    ],
)
@pytest.mark.usefixtures("everything")
def test_what_cannot_be_drawn_is_said_in_two_lines(words, problem, capsys):
    with pytest.raises(SystemExit) as end:
        main(["figure", words[0], "runs", *words[1:]])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert problem in error
    assert len(error.splitlines()) == 2


def test_traces_finds_a_run_by_its_name(capsys):
    name = write_full(Path("runs"), "batch", 0.5).path.name
    with pytest.raises(SystemExit) as end:
        main(["traces", name])
    assert (end.value.code, capsys.readouterr().err) == (0, "")
    assert Path("runs", name, "traces.png").is_file()


@pytest.mark.usefixtures("everything")
def test_error_at_each_cells_best_rate_has_one_panel():
    rows = read_rows()
    assert len(draw("error", rows, best="optimizer.learning_rate").axes) == 1
    assert len(draw("error", rows).axes) == 2
