"""How long runs will take: by like runs, else by a few steps."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from results import settings, write_run
from sweeping import TINY, jobs_of

from nnexp.cli.app import main
from nnexp.settings import DataConfig
from nnexp.sweeps.estimate import estimate_seconds, nearest_speed, num_images
from nnexp.sweeps.jobs import Job

IMAGES = DataConfig(name="synthetic", train_images=90, val_images=30, test_images=60)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def job(norm: str = "batch", **changes) -> Job:
    return Job(words=[], config=replace(settings(norm, data=IMAGES), **changes))


def finished(seconds: float, norm: str = "batch", **changes) -> None:
    config = job(norm, **changes).config
    data = {
        f"data.{split}_images": getattr(IMAGES, f"{split}_images")
        for split in ("train", "val", "test")
    }
    figures = {**data, "epochs_finished": config.epochs, "batch_size": config.batch_size}
    write_run(Path("runs"), config, 0.5, seconds=seconds, **figures)


def test_images_that_are_only_evaluated_count_a_third():
    assert num_images(job().config) == 3 * (90 + 30 / 3) + 60 / 3
    assert num_images(job(epochs=1).config) == 90 + 30 / 3 + 60 / 3
    assert (
        num_images(replace(settings(), data=DataConfig(), epochs=1))
        == 45_000 + 5_000 / 3 + 10_000 / 3
    )
    assert num_images(job(data=DataConfig(name="mine")).config) is None


def test_images_of_a_folder_are_counted():
    for name in ("train/cat/1.png", "train/dog/2.png", "train/dog/.hidden", "test/cat/3.png"):
        Path("pictures", name).parent.mkdir(parents=True, exist_ok=True)
        Path("pictures", name).touch()
    data = DataConfig(name="folder", root="pictures", val_images=1)
    assert num_images(job(data=data, epochs=3).config) == 3 * (1 + 1 / 3) + 1 / 3
    assert num_images(job(data=replace(data, val_images=2)).config) is None
    shutil.rmtree("pictures/train")
    assert num_images(job(data=data, epochs=3).config) == 3 * (1 + 1 / 3) + 1 / 3  # counted once


def test_run_takes_as_long_an_image_as_the_mean_of_finished_runs_of_its_kind():
    finished(8.0, seed=0)
    finished(12.0, seed=1)
    finished(99.0, "layer")
    new = job(seed=2, epochs=6)
    per_image = 10.0 / num_images(job().config)
    costs = estimate_seconds([new], threads=1).seconds
    assert costs == {new.name: pytest.approx(per_image * num_images(new.config))}


def test_kind_that_no_finished_run_is_like_is_measured():
    finished(1e9)
    (other,) = jobs_of("norm=none")
    costs = estimate_seconds([other], threads=1).seconds
    assert 0 < costs[other.name] < 60


def test_kind_that_there_was_no_time_to_measure_takes_as_long_as_its_like():
    """By another norm at the same batch size and precision, else by the same model."""
    speeds = {
        ("vgg16", 1.0, 32, "fp32", "batch"): 1.0,
        ("vgg16", 1.0, 32, "fp32", "group"): 3.0,
        ("vgg16", 1.0, 2, "fp32", "batch"): 11.0,
        ("baseline", 1.0, 32, "fp32", "batch"): 99.0,
    }
    assert nearest_speed(("vgg16", 1.0, 32, "fp32", "layer"), speeds) == 2.0
    assert nearest_speed(("vgg16", 1.0, 32, "bf16", "layer"), speeds) == 5.0
    assert nearest_speed(("alexnet", 1.0, 32, "fp32", "batch"), speeds) is None


def test_run_whose_number_of_images_nobody_knows_has_no_estimate():
    costs, problem = estimate_seconds([job(data=DataConfig(name="mine"))], threads=1)
    assert (costs, problem) == (
        {},
        "the number of images is not known; name data.train_images and data.test_images",
    )


def test_run_whose_folder_is_not_there_has_no_estimate():
    costs, problem = estimate_seconds([job(data=DataConfig(name="folder"))], threads=1)
    assert (costs, problem) == ({}, "data.root is not set")


def test_kind_that_cannot_work_says_why_and_leaves_the_others_their_estimate():
    cannot, can = jobs_of("norm=group,none", "norm.num_groups=3")
    costs, problem = estimate_seconds([cannot, can], threads=1)
    assert can.name in costs
    assert "norm.num_groups=3" in problem


def test_norm_of_a_plug_in_is_measured():
    Path("mine.py").write_text(
        'from nnexp.norms import NORMS\nNORMS["mine"] = NORMS["dynamic_tanh"]\n'
    )
    (mine,) = jobs_of("norm=mine", "plugins=[mine.py]")
    costs, problem = estimate_seconds([mine], threads=1)
    assert (list(costs), problem) == ([mine.name], "")


def test_dry_run_says_why_there_is_no_estimate(capsys):
    with pytest.raises(SystemExit):
        main(["sweep", "--dry-run", *TINY, "norm=group", "norm.num_groups=7"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("no estimate: norm.num_groups=7")
