"""A folder on a disk that loses, in a power failure, all that was not brought to it by fsync."""

import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"}
NEVER_SYNCED = {"log.txt", ".lock"}  # nothing depends on them

Tree = dict[str, bytes | None]  # path → content, None for a folder


@dataclass
class Crashes:
    """What crashes would leave of a folder: each different tree once, and what was promised."""

    folder: Path
    promises: list[tuple[str, list[str]]] = field(default_factory=list)  # words, names of trees

    @classmethod
    def read(cls, folder: Path) -> "Crashes":
        """Return what another process has kept."""
        return cls(folder, json.loads((folder / "promises.json").read_text()))

    def trees(self) -> list[Path]:
        """Return the folder of each tree."""
        return sorted(path for path in self.folder.iterdir() if path.is_dir())

    def keep(self, tree: Tree) -> str:
        """Write a tree, unless it is there; return its name."""
        tree = {path: content for path, content in tree.items() if _is_kept(path)}
        digest = hashlib.sha256(repr(sorted(tree.items())).encode()).hexdigest()[:16]
        place = self.folder / digest
        if not place.exists():
            place.mkdir()
            for path, content in tree.items():
                if content is None:
                    (place / path).mkdir(parents=True, exist_ok=True)
                else:
                    (place / path).parent.mkdir(parents=True, exist_ok=True)
                    (place / path).write_bytes(content)
        return digest

    def close(self) -> None:
        """Write down the promises."""
        (self.folder / "promises.json").write_text(json.dumps(self.promises))


class Disk:
    """Watches the files of one folder, and knows at every moment what of them is durable.

    POSIX at its worst: a file's content is durable as of its last fsync, and emptying it may
    reach the disk at once. A name that was made, moved or removed is durable from the next fsync
    of its folder on; until then it may have reached the disk or not.
    """

    def __init__(self, root: Path, crashes: Crashes) -> None:
        self.root = root
        self.crashes = crashes
        self._busy = False
        self._held: dict[int, int] = {}  # inode → handle; held, so that no inode is used again
        self._content: dict[int, bytes] = {}  # durable, by inode
        self._names: dict[str, dict[str, int]] = {}  # durable, by folder
        self._folders: set[int] = set()  # inodes

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at the folder at every file event inside the block."""
        real = os.fsync
        self._names["."] = self._listed(".")
        sys.addaudithook(self._hear)  # it can never be taken away: use a process of its own
        os.fsync = lambda handle: self._sync(handle, real)
        try:
            yield
        finally:
            os.fsync = real
            self._look()
            self._busy = True

    def promise(self, words: str) -> None:
        """Note what has been said, and what a power failure at this moment would leave."""
        self.crashes.promises.append((words, self._look()[1:]))

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._busy or not (event in CHANGES or event == "open"):
            return
        path = arguments[0]
        if event == "open" and not arguments[2] & WRITES:
            return
        if not isinstance(path, (str, os.PathLike)) or not self._is_inside(path):
            return
        self._look()
        if event == "open" and arguments[2] & os.O_TRUNC and Path(path).exists():
            self._content[Path(path).stat().st_ino] = b""

    def _is_inside(self, path: str | os.PathLike[str]) -> bool:
        return Path(os.path.abspath(path)).is_relative_to(self.root)  # noqa: PTH100  no events

    def _sync(self, handle: int, real: Callable[[int], None]) -> None:
        place = Path(f"/proc/self/fd/{handle}").readlink()
        if not place.is_relative_to(self.root):
            return real(handle)
        self._look()
        real(handle)
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            relative = str(place.relative_to(self.root))
            self._names[relative] = self._listed(relative)
        else:
            self._content[status.st_ino] = self._bytes_of(status.st_ino)
        return None

    def _look(self) -> list[str]:
        """Keep what is left by a kill, and by a power failure with the newest names and without.

        Returns:
            The names of the three trees.
        """
        self._busy = True
        try:
            now = {str(path.relative_to(self.root)): path for path in self.root.rglob("*")}
            inodes = {name: self._inode(path) for name, path in now.items()}
            killed: Tree = {
                name: None if inode in self._folders else self._bytes_of(inode)
                for name, inode in inodes.items()
            }
            newest: Tree = {
                name: None if inode in self._folders else self._content.get(inode, b"")
                for name, inode in inodes.items()
            }
            return [self.crashes.keep(tree) for tree in (killed, newest, dict(self._durable()))]
        finally:
            self._busy = False

    def _durable(self, folder: str = ".") -> Iterator[tuple[str, bytes | None]]:
        for name, inode in self._names.get(folder, {}).items():
            path = name if folder == "." else f"{folder}/{name}"
            if inode in self._folders:
                yield path, None
                yield from self._durable(path)
            else:
                yield path, self._content.get(inode, b"")

    def _listed(self, folder: str) -> dict[str, int]:
        busy, self._busy = self._busy, True
        try:
            return {path.name: self._inode(path) for path in (self.root / folder).iterdir()}
        finally:
            self._busy = busy

    def _inode(self, path: Path) -> int:
        status = path.lstat()
        if status.st_ino not in self._held:
            self._held[status.st_ino] = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            if stat.S_ISDIR(status.st_mode):
                self._folders.add(status.st_ino)
        return status.st_ino

    def _bytes_of(self, inode: int) -> bytes:
        handle = self._held[inode]
        return os.pread(handle, os.fstat(handle).st_size, 0)


def _is_kept(path: str) -> bool:
    return path.rpartition("/")[2] not in NEVER_SYNCED
