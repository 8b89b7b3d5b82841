"""Every block of Python on the page about extending works as it stands."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Starter

from nnexp import load_model

PAGE = Path(__file__).resolve().parent.parent.joinpath("docs/extending.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TINY = [
    *("data.train_images=60", "data.val_images=20", "data.test_images=20"),
    *("batch_size=16", "epochs=1", "threads=1"),
]
BASELINE = ["model=baseline", "model.width=0.25"]


def block_with(text: str) -> str:
    (block,) = [block for block in BLOCKS if text in block]
    return block


@pytest.fixture
def run(nnexp: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that gives what a command prints, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        done = nnexp(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_rms_norm_of_the_page_trains_and_is_compared(run):
    Path("rms_chw.py").write_text(block_with("class RMSNorm"))
    run("train", *TINY, *BASELINE, "data=synthetic", "norm=rms_chw", "plugins=[rms_chw.py]")
    (result,) = Path("runs").glob("baseline-rms_chw-*/result.json")
    assert "rms_chw.py sha256:" in json.dumps(json.loads(result.read_text())["code"])
    assert load_model(result.parent, plugins=["rms_chw.py"])
    assert "rms_chw" in run("compare", "--rows", "norm", "--csv")


def test_data_source_optimizer_schedule_and_listener_of_the_page_take_part_in_a_run(run):
    Path("rates.py").write_text(block_with("OPTIMIZERS.add"))
    Path("brightness.py").write_text(block_with("SOURCES.add"))
    Path("progress.py").write_text(block_with("class JsonLines"))
    plugins = ["plugins=[brightness.py,rates.py,progress.py]", "listeners=[jsonlines]"]
    own = ["data=brightness", "optimizer=nesterov", "schedule=linear"]
    run("train", *TINY, *BASELINE, "norm=none", *own, *plugins)
    (lines,) = Path("runs").glob("*/epochs.jsonl")
    (row,) = [json.loads(line) for line in lines.read_text().splitlines()]
    assert row["epoch"] == 1


def test_printed_command_trains_with_the_data_source_of_the_page(run):
    Path("brightness.py").write_text(block_with("SOURCES.add"))
    (command,) = re.findall(r"`nnexp (train [^`]*data=brightness[^`]*)`", PAGE)
    run(*shlex.split(command), "threads=1", "max_steps=1")
    (result,) = Path("runs").glob("*/result.json")
    assert json.loads(result.read_text())["status"] == "done"


def test_timm_model_of_the_page_trains_with_the_norm_of_the_settings(run):
    Path("resnet.py").write_text(block_with("timm.create_model"))
    words = ["data=synthetic", "model=timm_resnet18", "norm=group", "plugins=[resnet.py]"]
    run("train", *TINY, *words)
    assert list(Path("runs").glob("timm_resnet18-group-*/result.json"))


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block_of_the_page_is_python(block):
    compile(block, "docs/extending.md", "exec")
