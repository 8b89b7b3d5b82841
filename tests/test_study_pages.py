"""The pages of the studies say what their rows say."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from nnexp.cli.study_plan import read_plan

FOLDER = Path(__file__).resolve().parent.parent / "docs/studies"
make = SimpleNamespace(**runpy.run_path(str(FOLDER / "make.py")))

NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?![\w.]*\w)")
NO_PROSE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|<!--.*?-->", re.DOTALL)
CONSTANTS = {  # what remarks may say that no row decides
    "all_images": {
        12: "epochs",
        5_000: "images that choose, and those that other studies train on",
        45_000: "images that are trained on",
    },
    "batch_size": {
        0.00125: "a learning rate that the rows have beyond the grid",
        7: "the first seed that was added",
        9: "the last",
    },
    "disable_bn": {
        10: "chance with ten classes, in percent",
        13: "convolutions of VGG16",
        2018: "the year of a paper",
    },
    "running_stats": {240: "steps in six epochs"},
}


def numbers_in(text: str) -> set[float]:
    """Return the numbers in a text without their signs, those in code and addresses left aside."""
    prose = NO_PROSE.sub(" ", text)
    return {float(number.replace(",", "")) for number in NUMBER.findall(prose)}


def unsupported(name: str, remarks: str) -> set[float]:
    """Return the numbers of remarks that neither the made part of the page nor a constant has."""
    return numbers_in(remarks) - numbers_in(make.make_page(name, "")) - {*CONSTANTS.get(name, {})}


@pytest.mark.parametrize("name", make.NAMES)
def test_page_of_a_study_is_what_its_rows_and_its_remarks_make(name):
    page = (FOLDER / f"{name}.md").read_text("utf-8")
    assert make.make_page(name, make.read_remarks(name)) == page, (
        "uv run python docs/studies/make.py writes it"
    )


@pytest.mark.parametrize("name", make.NAMES)
def test_figures_of_a_page_are_drawn_from_its_rows(name, tmp_path):
    shown = set(re.findall(r"!\[[^]]*\]\((.*?)\)", (FOLDER / f"{name}.md").read_text("utf-8")))
    for command in read_plan(name).also:
        make.draw_figure(name, command, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == shown
    assert all(file.stat().st_size > 5000 for file in tmp_path.iterdir())
    assert {file.name for file in FOLDER.glob(f"{name}-*")} == shown


@pytest.mark.parametrize("name", make.NAMES)
def test_every_number_in_the_remarks_is_a_number_of_the_rows(name):
    assert unsupported(name, make.read_remarks(name)) == set()


@pytest.mark.parametrize("name", CONSTANTS)
def test_every_constant_stands_in_the_remarks(name):
    assert set(CONSTANTS[name]) <= numbers_in(make.read_remarks(name))


def test_a_wrong_number_in_remarks_is_found():
    remarks = "It costs −1.12 points (0.67 to 1.55), at `batch_size=77` [too](page-55.md)."
    assert unsupported("swap_block", remarks) == {1.12}


def test_numbers_of_a_study_in_the_readme_are_those_of_its_page():
    lines = (FOLDER.parents[1] / "README.md").read_text("utf-8").splitlines()
    told = [
        (name, line) for line in lines for name in re.findall(r"points .*/studies/(\w+)\.md", line)
    ]
    assert told
    for name, line in told:
        assert numbers_in(line) <= numbers_in(make.make_page(name, ""))


def test_momenta_of_one_seed_learn_the_same_weights():
    rows = pd.read_csv(FOLDER / "running_stats.csv")
    learned = rows.groupby("seed")[["train_accuracy", "train_loss"]]
    assert rows["norm.momentum"].nunique() == 3
    assert (learned.nunique() == 1).all(axis=None)
