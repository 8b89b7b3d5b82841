"""A source: picture files, `train/<class>/*` and `test/<class>/*`, decoded and brought to 32×32."""

import hashlib
import os
import shutil
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from nnexp.data.cache import Examples, Progress, Source, cache_home, cached, fingerprint
from nnexp.settings import LAYOUT, ConfigError, DataConfig, find_folder

SIDE = 32
CHUNK = 250  # pictures a thread decodes at a time
# Without EPS, which Pillow would hand to Ghostscript to be executed.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MOST_PIXELS = 2**25  # of a picture that a thread decodes: half a gigabyte with transparency
TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
NAMED = 5  # broken pictures that an error names before it counts the rest
WRONG_PICTURE = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError,
    struct.error, zlib.error, *TOO_LARGE,
)  # fmt: skip  # what Pillow's readers are known to raise on damaged files
AWAY = "move it away, or put a dot before its name"


@dataclass(frozen=True, slots=True)
class Picture:
    """A file as the listing shows it; a change of any field makes the cache old."""

    path: str
    size: int
    modified_ns: int


Listing = dict[str, list[Picture]]  # class name → its pictures, both sorted by name


def load_folder(config: DataConfig, progress: Progress) -> Source:
    """Return the pictures under `data.root`, from the cache unless the files have changed.

    Raises:
        ConfigError: The folder is not laid out as it must be, or a file is not a picture.
    """
    root = find_folder(config.root)
    train, test = _listing(root, "train"), _listing(root, "test")
    _check_classes(root, train, test)
    place = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
    digest = hashlib.sha256()
    for pictures in (*train.values(), *test.values()):
        lines = [f"{p.path}\0{p.size}\0{p.modified_ns}\n" for p in pictures]
        digest.update("".join(lines).encode(errors="surrogateescape"))
    folder = cache_home(config) / f"folder-{place}-{digest.hexdigest()[:16]}"
    source = cached(folder, lambda: _decode(root, train, test, progress), progress)
    for outdated in folder.parent.glob(f"folder-{place}-*"):
        if outdated != folder:
            shutil.rmtree(outdated, ignore_errors=True)
    return source


def decode_picture(path: str | Path) -> np.ndarray:
    """Return a picture as uint8 (3, 32, 32), RGB.

    Its EXIF orientation is applied; transparency is laid on white; 16-bit grey keeps its upper
    byte. What is not 32×32 is scaled until its shorter side is 32, smoothed (bicubic, with the
    support widened against aliasing), and cropped to its centre.

    Raises:
        OSError: And others of `WRONG_PICTURE`, where the file is not a whole picture.
    """
    with Image.open(path, formats=FORMATS) as file:
        file.draft(None, (4 * SIDE, 4 * SIDE))  # a large JPEG is decoded at 1/2, 1/4 or 1/8
        if file.width * file.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        ImageOps.exif_transpose(file, in_place=True)
        picture = _rgb(file)
    if picture.size != (SIDE, SIDE):
        picture = ImageOps.fit(picture, (SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(picture).transpose(2, 0, 1)


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        grey = np.asarray(picture).astype(np.int64).clip(0, 65535) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def _listing(root: Path, half: str) -> Listing:
    """Return what `root/half` holds, without opening a file; hidden names are passed over."""
    if not (root / half).is_dir():
        raise ConfigError(f"data.root={root} has no folder {half}", LAYOUT)
    listing: Listing = {}
    for entry in _visible(root / half):
        if not stat.S_ISDIR(_status(entry).st_mode):
            raise ConfigError(f"{entry.path} lies beside the class folders", f"{AWAY} ({LAYOUT})")
        listing[entry.name] = [_picture(file) for file in _visible(entry.path)]
    return listing


def _picture(file: os.DirEntry[str]) -> Picture:
    status = _status(file)
    if stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{file.path} is a folder inside a class", f"move it away ({LAYOUT})")
    if not stat.S_ISREG(status.st_mode):  # reading it might never end
        raise ConfigError(f"{file.path} is a pipe, a socket or a device, not a picture", AWAY)
    return Picture(file.path, status.st_size, status.st_mtime_ns)


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    """Return the status of what `entry` is or, as a symbolic link, leads to."""
    try:
        return entry.stat()
    except OSError as error:
        what = "is a symbolic link that cannot be followed" if entry.is_symlink() else "is lost"
        raise ConfigError(f"{entry.path} {what}: {error.strerror}", AWAY) from error


def _visible(folder: Path | str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(
            (entry for entry in entries if not entry.name.startswith(".")),
            key=lambda entry: entry.name,
        )


def _check_classes(root: Path, train: Listing, test: Listing) -> None:
    if len(train) < 2:
        raise ConfigError(
            f"{root / 'train'} holds {len(train)} classes, which leaves nothing to tell apart",
            f"it needs two class folders or more ({LAYOUT})",
        )
    for here, there, half, other in (
        (train, test, "train", "test"),
        (test, train, "test", "train"),
    ):
        if missing := sorted(here.keys() - there.keys()):
            raise ConfigError(
                f"{root}: in {half} but not in {other}: {_first(missing)}",
                "train and test need folders of the same names",
            )
        if empty := [name for name, pictures in here.items() if not pictures]:
            raise ConfigError(
                f"{root / half / empty[0]} holds no picture",
                "put pictures there, or remove the class from train and test",
            )


def _decode(root: Path, train: Listing, test: Listing, progress: Progress) -> Source:
    files = [p for listing in (train, test) for pictures in listing.values() for p in pictures]
    images = np.empty((len(files), 3, SIDE, SIDE), np.uint8)
    broken: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # into WRONG_PICTURE
        for done, wrong in _decode_chunks(files, images):
            broken += [f"{os.path.relpath(path, root)} ({reason})" for path, reason in wrong]
            progress("decoding pictures", done, len(files))
    if broken:
        raise ConfigError(
            f"{len(broken)} of {len(files)} files in {root} cannot be read as pictures: "
            f"{_first(broken)}",
            f"replace them with pictures in a format that is read ({', '.join(FORMATS)}), move them"
            " away, or put a dot before their names",
        )
    num_train = sum(len(pictures) for pictures in train.values())
    halves = (
        Examples(images[:num_train], _labels(train)),
        Examples(images[num_train:], _labels(test)),
    )
    classes = tuple(train)
    return Source(
        classes=classes,
        train=halves[0],
        test=halves[1],
        fingerprint=fingerprint(classes, *halves),
    )


def _decode_chunks(
    files: list[Picture], images: np.ndarray
) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Fill `images`; yield, chunk after chunk, how many are done and which of it are broken."""

    def decode(start: int) -> list[tuple[str, str]]:
        wrong = []
        for index, picture in enumerate(files[start : start + CHUNK], start):
            try:
                images[index] = decode_picture(picture.path)
            except WRONG_PICTURE as error:
                wrong.append((picture.path, _reason(error)))
        return wrong

    # Pillow decodes without the interpreter lock, which tiny pictures hardly leave.
    tiny = sum(picture.size for picture in files) < 4096 * len(files)
    with ThreadPoolExecutor(1 if tiny else os.cpu_count()) as threads:
        starts = range(0, len(files), CHUNK)
        for start, wrong in zip(starts, threads.map(decode, starts), strict=True):
            yield min(start + CHUNK, len(files)), wrong


def _reason(error: BaseException) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not in a format that is read"
    if isinstance(error, TOO_LARGE):
        return f"too large to decode, scale it down to at most {MOST_PIXELS:,} pixels"
    return str(error)


def _labels(listing: Listing) -> np.ndarray:
    counts = [len(pictures) for pictures in listing.values()]
    return np.repeat(np.arange(len(counts), dtype=np.int64), counts)


def _first(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
