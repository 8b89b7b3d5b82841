import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from cache_builds import build_with_others, tiny_source
from full_disk import room_for
from killed_runs import SERVER
from photos import CLASSES, draw, folder_config, make_photos, refusal

from nnexp.cli.app import main
from nnexp.data import load_images
from nnexp.data.cache import Source, cache_home, cached, fingerprint, report_nothing
from nnexp.settings import ConfigError, DataConfig


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


@pytest.fixture
def config(photos: Path, tmp_path: Path) -> DataConfig:
    return folder_config(photos, tmp_path / "cache")


def change_unseen(path: Path, content: bytes) -> None:
    """Put other content of the same size and time in a file's place."""
    status = path.stat()
    assert len(content) == status.st_size
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_second_run_maps_what_the_first_decoded(config: DataConfig, photos: Path) -> None:
    first = load_images(config)
    for path in photos.rglob("*.png"):
        change_unseen(path, b"x" * path.stat().st_size)  # whoever decoded again would meet nonsense
    said: list[str] = []
    second = load_images(config, lambda what, done, total: said.append(what))
    assert said == []
    assert second.train.images.equal(first.train.images)
    assert second.fingerprint == first.fingerprint
    assert second.place == first.place
    source = cached(Path(second.place), pytest.fail, report_nothing)
    assert isinstance(source.train.images, np.ndarray)
    assert isinstance(source.train.images.base, np.memmap)


@pytest.mark.parametrize("change", ["touched", "added", "removed", "resized"])
def test_a_changed_source_is_noticed(config: DataConfig, photos: Path, change: str) -> None:
    first = load_images(config)
    picture = photos / "train" / "ant" / "0.png"
    if change == "touched":
        time_ns = picture.stat().st_mtime_ns
        draw(picture, seed=7)
        os.utime(picture, ns=(time_ns + 1, time_ns + 1))
    elif change == "added":
        draw(picture.with_name("9.png"), seed=7)
    elif change == "removed":
        picture.unlink()
    else:
        status = picture.stat()
        draw(picture, seed=7, size=(40, 40))
        os.utime(picture, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = load_images(config)
    assert second.fingerprint != first.fingerprint
    assert second.place != first.place
    assert not Path(first.place).exists()  # the outdated one makes room


def test_a_fingerprint_tells_content_and_not_the_place(
    config: DataConfig, photos: Path, tmp_path: Path
) -> None:
    first = load_images(config)
    moved = tmp_path / "elsewhere"
    shutil.copytree(photos, moved, copy_function=shutil.copyfile)
    config.root = str(moved)
    assert load_images(config).fingerprint == first.fingerprint
    (moved / "train" / "cat").rename(moved / "train" / "cow")
    (moved / "test" / "cat").rename(moved / "test" / "cow")
    assert load_images(config).fingerprint != first.fingerprint


def test_a_fingerprint_can_be_computed_again_from_the_cache(config: DataConfig) -> None:
    images = load_images(config)
    folder = Path(images.place)
    digest = hashlib.sha256(json.dumps(list(CLASSES)).encode())
    for half in ("train", "test"):
        digest.update(np.load(folder / f"{half}_labels.npy").tobytes())
        digest.update(np.load(folder / f"{half}_images.npy").tobytes())
    assert digest.hexdigest() == images.fingerprint


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def forget_a_class(path: Path) -> None:
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "train": meta["train"] - 1}))


def grow_old(path: Path) -> None:
    path.write_text(path.read_text().replace('"version": 1', '"version": 0'))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    change_unseen(path, content)


def spoil_the_header(path: Path) -> None:
    change_unseen(path, path.read_bytes().replace(b"}", b"|", 1))


def zero_the_labels(path: Path) -> None:
    labels = np.load(path)
    assert labels.any()
    content = path.read_bytes()
    change_unseen(path, content[: -labels.nbytes] + bytes(labels.nbytes))


def rename_a_class(path: Path) -> None:
    change_unseen(path, path.read_bytes().replace(b'"bee"', b'"cow"'))


def change_the_fingerprint(path: Path) -> None:
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "fingerprint": "0" * 64}))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("train_images.npy", cut_in_half),
        ("train_images.npy", Path.unlink),
        ("train_images.npy", lambda path: path.write_bytes(b"")),
        ("test_labels.npy", cut_in_half),
        ("test_images.npy", lambda path: np.save(path, np.zeros((12, 3, 32, 31), np.uint8))),
        ("test_labels.npy", lambda path: np.save(path, np.zeros(12))),
        ("meta.json", cut_in_half),
        ("meta.json", Path.unlink),
        ("meta.json", lambda path: path.write_text("[]")),
        ("meta.json", forget_a_class),
        ("meta.json", grow_old),
        ("train_images.npy", flip_a_bit),
        ("test_images.npy", flip_a_bit),
        ("test_images.npy", spoil_the_header),
        ("train_labels.npy", zero_the_labels),
        ("test_labels.npy", zero_the_labels),
        ("meta.json", rename_a_class),
        ("meta.json", change_the_fingerprint),
    ],
)
def test_a_damaged_cache_is_named_and_made_again(
    config: DataConfig, file: str, damage: Callable[[Path], object]
) -> None:
    first = load_images(config)
    damage(Path(first.place) / file)
    said: list[str] = []
    second = load_images(config, lambda what, done, total: said.append(what))
    assert said[0].startswith(f"{first.place} is damaged (")
    assert second.train.images.equal(first.train.images)
    assert second.train.labels.equal(first.train.labels)
    assert second.test.images.equal(first.test.images)
    assert second.test.labels.equal(first.test.labels)
    assert (second.classes, second.fingerprint) == (first.classes, first.fingerprint)
    load_images(config, lambda *progress: pytest.fail("the new cache was not used"))


def partly_covered() -> Source:
    """Return a source whose fingerprint covers one image of each half, as the shapes' does."""
    source = tiny_source(5)
    part = fingerprint("ab", source.train, source.test, 1)
    return replace(source, fingerprint=part, fingerprinted=1)


def test_a_bit_that_the_fingerprint_does_not_cover_is_noticed(tmp_path: Path) -> None:
    cached(tmp_path / "key", partly_covered, report_nothing)
    flip_a_bit(tmp_path / "key" / "train_images.npy")
    said: list[str] = []
    source = cached(tmp_path / "key", partly_covered, lambda what, done, total: said.append(what))
    assert "is damaged" in said[0]
    assert source.train.images[:].min() == 5


def forget_the_digest(folder: Path) -> None:
    """Leave what was written before caches had a digest of all images."""
    meta = json.loads((folder / "meta.json").read_text())
    del meta["digest"]
    (folder / "meta.json").write_text(json.dumps(meta))


def test_an_old_cache_is_checked_by_the_fingerprint_of_all_its_images(config: DataConfig) -> None:
    first = load_images(config)
    forget_the_digest(Path(first.place))
    second = load_images(config, lambda *progress: pytest.fail("the old cache was not used"))
    assert second.fingerprint == first.fingerprint
    flip_a_bit(Path(first.place) / "train_images.npy")
    third = load_images(config)
    assert third.train.images.equal(first.train.images)


def test_an_old_cache_that_cannot_be_checked_is_made_again(tmp_path: Path) -> None:
    cached(tmp_path / "key", partly_covered, report_nothing)
    forget_the_digest(tmp_path / "key")
    flip_a_bit(tmp_path / "key" / "train_images.npy")
    source = cached(tmp_path / "key", partly_covered, report_nothing)
    assert source.train.images[:].min() == 5
    cached(tmp_path / "key", pytest.fail, report_nothing)


def test_a_damaged_cache_whose_source_is_gone_is_refused_each_time(tmp_path: Path) -> None:
    def fail() -> Source:
        raise ConfigError("the archive is gone", "fetch it")

    cached(tmp_path / "key", lambda: tiny_source(5), report_nothing)
    flip_a_bit(tmp_path / "key" / "train_images.npy")
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            cached(tmp_path / "key", fail, report_nothing)
        assert caught.value.problem.startswith(f"{tmp_path / 'key'} is damaged (")
        assert caught.value.problem.endswith("cannot be decoded again: the archive is gone")
        assert caught.value.remedy == "fetch it"


def test_a_build_that_was_killed_leaves_nothing_that_is_used(config: DataConfig) -> None:
    first = load_images(config)
    place = Path(first.place)
    torn = place.with_name(".building-1234")  # what SIGKILL leaves: part of the files
    place.rename(torn)
    (torn / "meta.json").unlink()
    second = load_images(config)
    assert second.train.images.equal(first.train.images)
    assert torn.exists()  # it might be another process at work
    old = time.time() - 2 * 86400
    os.utime(torn, (old, old))
    shutil.rmtree(place)
    load_images(config)
    assert [path.name for path in place.parent.iterdir()] == [place.name]


@pytest.mark.parametrize("before", ["nothing", "a damaged cache"])
def test_processes_that_build_at_once_do_each_other_no_harm(tmp_path: Path, before: str) -> None:
    if before == "a damaged cache":
        cached(tmp_path / "key", lambda: tiny_source(5), report_nothing)
        flip_a_bit(tmp_path / "key" / "train_images.npy")
    everyone = SERVER.Barrier(4)
    processes = [
        SERVER.Process(target=build_with_others, args=(tmp_path / "key", everyone))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_full_disk_ends_in_one_message_and_leaves_nothing(config: DataConfig) -> None:
    with room_for(30_000):
        error = refusal(config)
    assert "cannot be put into" in error.problem
    assert "data.cache_dir" in error.remedy
    assert list(Path(str(config.cache_dir)).iterdir()) == []
    load_images(config)


def test_the_cache_lies_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("NNEXP_CACHE", "/own")
    assert cache_home(DataConfig(cache_dir="/said")) == Path("/said")
    assert cache_home(DataConfig()) == Path("/own")
    monkeypatch.delenv("NNEXP_CACHE")
    assert cache_home(DataConfig()) == Path("/xdg/nnexp")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_home(DataConfig()) == Path("/home/me/.cache/nnexp")


def test_a_description_counts_every_class(config: DataConfig, capsys) -> None:
    settings = {key: value for key, value in asdict(config).items() if key != "name" and value}
    with suppress(SystemExit):
        main(["data", "data=folder", *(f"data.{key}={value}" for key, value in settings.items())])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["split", "images", "ant", "bee", "cat"] in lines
    assert ["train", "18", "6", "6", "6"] in lines
    assert ["test", "12", "4", "4", "4"] in lines
