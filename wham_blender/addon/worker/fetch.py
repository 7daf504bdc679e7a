"""Downloads one file of full quality: ``wham_blender.addon.worker.fetch ROLE FOLDER``, a separate process. No bpy.

It writes messages of protocol.py. A name and password, if the file needs them, come in environment variables, which
other users cannot read, and are removed from the environment at once.
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
_PAUSE = 0.2  # seconds between two progress messages
_MB = 1e6


def command(role: str, folder: Path) -> list[str]:
    """The command that downloads; Blender's interpreter runs it in a separate process."""
    return module_command(Path(sys.executable), "wham_blender.addon.worker.fetch", role, str(folder))


@contextmanager
def account(user: str, password: str) -> Iterator[None]:
    """Processes started in the block get the name and the password in their environment."""
    os.environ |= {_USER: user, _PASSWORD: password}
    try:
        yield
    finally:
        del os.environ[_USER], os.environ[_PASSWORD]


class _Progress:
    """Reports the progress of a download, at most every _PAUSE seconds."""

    def __init__(self) -> None:
        self._begun: tuple[float, int] | None = None  # time, and bytes of an earlier attempt
        self._last_report = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        self._begun = self._begun or (now, done)
        if now - self._last_report < _PAUSE and done != total:
            return
        self._last_report = now
        received = done - self._begun[1]
        left = (now - self._begun[0]) / received * (total - done) if received and total else None
        fraction = done / total if total else 0.0
        _send(protocol.Progress("download, MB", round(done / _MB), round(total / _MB), fraction, left))


def _send(message: protocol.Message) -> None:
    print(protocol.encode(message), flush=True)


def main() -> int:
    """Download the file that the command line names; the process's exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    user, password = os.environ.pop(_USER, ""), os.environ.pop(_PASSWORD, "")
    role, folder = sys.argv[1], Path(sys.argv[2])
    try:
        entry = published_for(role)
        same_archive = [
            other for other in published() if other.member and other.address == entry.address and other != entry
        ]
        credentials = (user, password) if entry.account else None
        path = download.download(entry, folder, _Progress(), credentials, also=same_archive)
        Library(folder).choose(path, role)
        for other in same_archive:
            with suppress(WeightsError):  # the archive does not hold it
                Library(folder).choose(folder / other.name, other.role)
    except WeightsError as error:
        _send(protocol.Failed(str(error), error.code))
        return 1
    _send(protocol.Done(str(path)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
