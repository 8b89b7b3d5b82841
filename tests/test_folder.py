import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from photos import CLASSES, folder_config, make_photos, refusal
from PIL import Image

from nnexp.data import SOURCES, load_images
from nnexp.data.folder import decode_picture
from nnexp.settings import DataConfig


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


@pytest.fixture
def config(photos: Path, tmp_path: Path) -> DataConfig:
    return folder_config(photos, tmp_path / "cache")


def test_a_folder_gives_its_pictures_under_its_class_names(
    config: DataConfig, photos: Path
) -> None:
    images = load_images(config)
    assert images.classes == CLASSES
    assert images.name == "folder"
    assert images.test.images.dtype == torch.uint8
    assert images.test.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    expected = np.asarray(Image.open(photos / "test" / "bee" / "0.png")).transpose(2, 0, 1)
    assert np.array_equal(images.test.images[4].numpy(), expected)


def test_hidden_files_are_passed_over(config: DataConfig, photos: Path) -> None:
    (photos / "train" / ".DS_Store").write_text("no picture")
    (photos / "train" / "ant" / "._0.png").write_text("no picture")
    (photos / "test" / ".hidden").mkdir()
    assert len(load_images(config).train) == 18


def save_as(path: Path, picture: Image.Image, **options: object) -> np.ndarray:
    picture.save(path, **options)
    return decode_picture(path)


def test_every_kind_of_picture_becomes_rgb(tmp_path: Path) -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    picture = Image.fromarray(red)
    expected = red.transpose(2, 0, 1)
    assert np.array_equal(save_as(tmp_path / "palette.gif", picture.convert("P")), expected)
    assert np.array_equal(save_as(tmp_path / "rgb.bmp", picture), expected)
    assert np.array_equal(save_as(tmp_path / "rgb.webp", picture, lossless=True), expected)
    cmyk = save_as(tmp_path / "cmyk.jpg", picture.convert("CMYK"), quality=100)
    assert np.abs(cmyk.astype(int) - expected).max() < 8
    grey = save_as(tmp_path / "grey.png", Image.new("L", (32, 32), 77))
    assert np.array_equal(grey, np.full((3, 32, 32), 77))
    deep = Image.fromarray(np.full((32, 32), 0x4D80, np.uint16))
    assert np.array_equal(save_as(tmp_path / "deep.png", deep), np.full((3, 32, 32), 0x4D))


def test_transparency_shows_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    assert save_as(tmp_path / "clear.png", clear).min() == 255
    palette = Image.new("P", (32, 32), 0)
    assert save_as(tmp_path / "palette.png", palette, transparency=0).min() == 255


def test_a_picture_is_turned_as_its_camera_noted(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    turned = save_as(tmp_path / "turned.png", Image.fromarray(pixels), exif=exif)
    assert turned[:, :, 16:].min() == 255
    assert turned[:, :, :16].max() == 0


def test_a_large_picture_is_cut_to_its_centre_and_smoothed(tmp_path: Path) -> None:
    pixels = np.zeros((64, 192, 3), np.uint8)
    pixels[:, 64:128] = 200  # the middle square
    pixels[:, 64:128:2] = 0  # in fine stripes, which must melt into grey
    found = save_as(tmp_path / "wide.png", Image.fromarray(pixels))
    assert found.shape == (3, 32, 32)
    middle = found[:, :, 4:28].astype(int)
    assert np.abs(middle - 100).max() < 12


def test_a_small_picture_is_enlarged(tmp_path: Path) -> None:
    found = save_as(tmp_path / "small.png", Image.new("RGB", (5, 7), (9, 90, 200)))
    assert np.array_equal(found, np.reshape([9, 90, 200], (3, 1, 1)) + np.zeros((3, 32, 32)))


def test_broken_pictures_and_other_files_are_named(config: DataConfig, photos: Path) -> None:
    whole = (photos / "train" / "cat" / "3.png").read_bytes()
    (photos / "train" / "cat" / "3.png").write_bytes(whole[: len(whole) // 2])
    (photos / "test" / "ant" / "notes.txt").write_text("hello")
    error = refusal(config)
    assert "2 of 37 files" in error.problem
    assert "train/cat/3.png (" in error.problem
    assert "test/ant/notes.txt (not in a format that is read)" in error.problem
    assert "PNG" in error.remedy
    assert not any(Path(str(config.cache_dir)).glob("folder-*"))


def test_postscript_is_never_executed(
    config: DataConfig, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(ghostscript.parent), prepend=os.pathsep)
    Image.new("RGB", (32, 32)).save(photos / "train" / "cat" / "8.png", format="EPS")
    problem = refusal(config).problem
    assert "1 of 37 files" in problem
    assert "train/cat/8.png (not in a format that is read)" in problem
    assert not (tmp_path / "executed").exists()


def png_header(width: int, height: int) -> bytes:
    """Return the first bytes of a PNG, which claim a size and hold no pixel."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n\0\0\0\r" + body + struct.pack(">I", zlib.crc32(body)) + b"\0\0\0\0IDAT"
    )


def jpeg_header(width: int, height: int) -> bytes:
    """Return a JPEG of few pixels that claims another size."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG")
    content = bytearray(file.getvalue())
    struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, height, width)
    return bytes(content)


# Above our own limit, and above the two at which Pillow warns and refuses.
@pytest.mark.parametrize(
    "header",
    [
        png_header(6000, 6000),
        png_header(12_000, 12_000),
        png_header(20_000, 20_000),
        jpeg_header(10_000, 10_000),
        jpeg_header(20_000, 20_000),
    ],
    ids=["png", "png, a warning", "png, an error", "jpeg, a warning", "jpeg, an error"],
)
@pytest.mark.filterwarnings("default")  # as in a user's process
def test_a_picture_of_absurd_size_is_refused_by_its_header(
    config: DataConfig, photos: Path, header: bytes, recwarn: pytest.WarningsRecorder
) -> None:
    (photos / "train" / "cat" / "8.png").write_bytes(header)
    problem = refusal(config).problem
    assert "train/cat/8.png (too large to decode, scale it down to at most 33,554,432" in problem
    assert not recwarn


def test_a_large_jpeg_is_read_since_it_is_decoded_at_a_smaller_scale(tmp_path: Path) -> None:
    picture = Image.new("L", (6000, 6000), 99)
    assert np.array_equal(save_as(tmp_path / "large.jpg", picture), np.full((3, 32, 32), 99))


def empty_a_class(photos: Path) -> None:
    shutil.rmtree(photos / "train" / "bee")
    (photos / "train" / "bee").mkdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, "is not a folder"),
        (lambda root: shutil.rmtree(root / "train"), "has no folder train"),
        (lambda root: shutil.rmtree(root / "test"), "has no folder test"),
        (lambda root: shutil.rmtree(root / "test" / "bee"), "in train but not in test: bee"),
        (lambda root: shutil.rmtree(root / "train" / "bee"), "in test but not in train: bee"),
        (empty_a_class, "bee holds no picture"),
        (lambda root: (root / "train" / "labels.csv").write_text("1"), "labels.csv lies beside"),
        (lambda root: (root / "test" / "ant" / "more").mkdir(), "more is a folder inside a class"),
        (
            lambda root: (root / "test" / "bee" / "9.png").symlink_to("nowhere.png"),
            "9.png is a symbolic link that cannot be followed: No such file",
        ),
        (
            lambda root: (root / "test" / "bee" / "9.png").symlink_to("9.png"),
            "9.png is a symbolic link that cannot be followed: Too many levels",
        ),
        (
            lambda root: (root / "train" / "dog").symlink_to("dog"),
            "dog is a symbolic link that cannot be followed: Too many levels",
        ),
        (
            lambda root: (root / "train" / "ant" / "9.png").symlink_to("/dev/zero"),
            "9.png is a pipe, a socket or a device",
        ),
        (
            lambda root: os.mkfifo(root / "train" / "ant" / "9.png"),
            "9.png is a pipe, a socket or a device",
        ),
        (
            lambda root: [shutil.rmtree(root / "train" / name) for name in ("ant", "bee")],
            "holds 1 class",
        ),
    ],
)
def test_a_folder_laid_out_otherwise_is_refused_with_what_is_wrong(
    config: DataConfig, photos: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(photos)
    assert said in refusal(config).problem


def test_a_link_to_a_picture_counts_as_the_picture(config: DataConfig, photos: Path) -> None:
    picture = photos / "test" / "bee" / "0.png"
    before = load_images(config)
    picture.rename(photos.parent / "0.png")
    picture.symlink_to(photos.parent / "0.png")
    assert load_images(config).fingerprint == before.fingerprint


def test_an_unset_root_is_asked_for() -> None:
    error = refusal(DataConfig(name="folder"))
    assert error.problem == "data.root is not set"
    assert "data.root=FOLDER" in error.remedy


def test_an_unknown_source_is_answered_with_the_nearest(config: DataConfig) -> None:
    config.name = "cifra10"
    error = refusal(config)
    assert "did you mean data=cifar10" in error.remedy
    assert all(name in error.remedy for name in SOURCES)
