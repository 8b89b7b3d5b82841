"""Processes of `python -m nnexp`, or of another module, that begin with torch imported.

For tests of what a process does and how it ends, not of what it imports. This file, run as a
script, imports torch once and forks a process for each request; that ends as any Python does, by
the interpreter's own finalization.
"""

import gc
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

MOST = 1 << 20  # bytes of a request


class Starter:
    """Starts processes of `python -m nnexp`, or of another module, one at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def __call__(
        self, *words: str, module: str = "nnexp", output: int | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the current folder; `output` is a handle for its standard output."""
        request = {
            "module": module,
            "words": words,
            "folder": str(Path.cwd()),
            "environment": os.environ | environment,
        }
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            handles = [out.fileno() if output is None else output, err.fileno()]
            socket.send_fds(self._connection, [json.dumps(request).encode()], handles)
            code = int(self._connection.recv(MOST))
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(words, code, out.read(), err.read())


@contextmanager
def starting() -> Iterator[Starter]:
    """Import torch in a process of its own, and return what forks it."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            handle = theirs.fileno()
            command = [sys.executable, __file__, str(handle)]
            server = subprocess.Popen(command, pass_fds=[handle])
        yield Starter(ours)
    server.wait()


def _serve(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Fork a process for each request; in it, return the request and where its output goes."""
    while True:
        request, handles, _, _ = socket.recv_fds(connection, MOST, 2)
        if not request:
            sys.exit()
        pid = os.fork()
        if pid == 0:
            connection.close()
            return request, handles
        for handle in handles:
            os.close(handle)
        _, status = os.waitpid(pid, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become_asked(request: bytes, handles: list[int]) -> None:
    for standard, handle in zip((1, 2), handles, strict=True):
        os.dup2(handle, standard)
        os.close(handle)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  closed at the end of the process
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    asked = json.loads(request)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    added = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:1] = [asked["folder"], *added]
    sys.argv[1:] = asked["words"]
    gc.freeze()  # else the end of the process takes a second, to look through all of torch
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    from nnexp.sweeps.worker import PRELOAD

    for name in (*PRELOAD, "nnexp.cli.app", "nnexp.compare", "nnexp.settings.compose"):
        import_module(name)
    _become_asked(*_serve(socket.socket(fileno=int(sys.argv[1]))))
