"""Downloads one file of full quality: ``wham_blender.addon.worker.fetch ROLE FOLDER``, a process of its own. No bpy.

It speaks protocol.py like the worker. A name and password, where the file wants them, come in variables of the
environment, which other users cannot read, and are taken out of it at once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ... import protocol
from ...weights import WeightsError, download, published, published_for
from ...weights.library import Library
from .process import module_command

_USER, _PASSWORD = "WHAM_DOWNLOAD_USER", "WHAM_DOWNLOAD_PASSWORD"
_OFTEN = 0.2  # seconds between two lines of progress
MB = 1e6


def command(role: str, folder: Path) -> list[str]:
    """The command that downloads, run by Blender's own interpreter but outside of it."""
    return module_command(Path(sys.executable), "wham_blender.addon.worker.fetch", role, str(folder))


@contextmanager
def account(user: str, password: str) -> Iterator[None]:
    """A process started inside gets the name and the password; they are gone from here afterwards."""
    os.environ |= {_USER: user, _PASSWORD: password}
    try:
        yield
    finally:
        del os.environ[_USER], os.environ[_PASSWORD]


class _Progress:
    """Tells how far a download is, now and then."""

    def __init__(self) -> None:
        self._begun: tuple[float, int] | None = None  # when, and with how many bytes there already
        self._told = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        self._begun = self._begun or (now, done)
        if now - self._told < _OFTEN and done != total:
            return
        self._told = now
        came = done - self._begun[1]
        left = (now - self._begun[0]) / came * (total - done) if came and total else None
        fraction = done / total if total else 0.0
        _say(protocol.Progress("download, MB", round(done / MB), round(total / MB), fraction, left))


def _say(message: protocol.Message) -> None:
    print(protocol.encode(message), flush=True)


def main() -> int:
    """Download what the command line names; the process's exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    user, password = os.environ.pop(_USER, ""), os.environ.pop(_PASSWORD, "")
    role, folder = sys.argv[1], Path(sys.argv[2])
    try:
        entry = published_for(role)
        beside = [each for each in published() if each.member and each.address == entry.address and each != entry]
        sent = (user, password) if entry.account else None
        path = download.download(entry, folder, _Progress(), sent, also=beside)
        Library(folder).choose(path, role)
        for each in beside:
            with suppress(WeightsError):  # it was not in the archive, or is another file
                Library(folder).choose(folder / each.name, each.role)
    except WeightsError as error:
        _say(protocol.Failed(str(error)))
        return 1
    _say(protocol.Done(str(path)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
