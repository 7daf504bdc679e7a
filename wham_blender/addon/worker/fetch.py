"""Adds weight files to the library in a process of its own: downloads, checks or searches for them. No bpy.

``wham_blender.addon.worker.fetch VERB LIBRARY ARGUMENTS`` writes messages of protocol.py; Done has the files' roles.
Blender does not wait for a file that takes long to look through, and does not crash with one that crashes its reader.
A name and password, if a download needs them, come in environment variables, which other users cannot read, and are
removed from the environment at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ... import limits, protocol
from ...errors import reason
from ...weights import WeightsError, contents, download, published, published_for
from ...weights.library import Library
from .process import module_command

_USER, _PASSWORD = "WHAM_DOWNLOAD_USER", "WHAM_DOWNLOAD_PASSWORD"
_PAUSE = 0.2  # seconds between two progress messages
_MB = 1e6


def download_command(library: Path, role: str) -> list[str]:
    """The command that downloads a role's file; Blender's interpreter runs it in a separate process."""
    return _command("download", library, role)


def choose_command(library: Path, role: str, file: Path) -> list[str]:
    """The command that adds a file of this computer; role: which file it has to be, empty for any."""
    return _command("choose", library, role, str(file))


def search_command(library: Path, folder: Path) -> list[str]:
    """The command that adds what is still missing from a folder."""
    return _command("search", library, str(folder))


def _command(verb: str, library: Path, *arguments: str) -> list[str]:
    return module_command(Path(sys.executable), "wham_blender.addon.worker.fetch", verb, str(library), *arguments)


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
        left = (now - self._begun[0]) / received * (total - done) if received > 0 and total else None
        fraction = done / total if total else 0.0
        protocol.send(protocol.Progress("download, MB", round(done / _MB), round(total / _MB), fraction, left))


def _download(library: Library, role: str) -> list[str]:
    user, password = os.environ.pop(_USER, ""), os.environ.pop(_PASSWORD, "")
    entry = published_for(role)
    same_archive = [
        other for other in published() if other.member and other.address == entry.address and other != entry
    ]
    credentials = (user, password) if entry.account else None
    path = download.download(entry, library.folder, _Progress(), credentials, also=same_archive)
    library.choose(path, role)
    for other in same_archive:
        with suppress(WeightsError):  # the archive does not hold it
            library.choose(library.folder / other.name, other.role)
    return [role]


def _choose(library: Library, role: str, file: str) -> list[str]:
    path = Path(file)
    with _time_limit(limits.RECOGNISE_SECONDS, _too_slow(path)):
        return [library.choose(path, role or None).role]


def _search(library: Library, folder: str) -> list[str]:
    def look(path: Path, done: int, total: int) -> contents.Contents:
        protocol.send(protocol.Progress("looking through files", done, total, done / total))
        with _time_limit(limits.RECOGNISE_SECONDS, _too_slow(path)):
            return contents.recognise(path)

    minutes = limits.SEARCH_SECONDS / 60
    too_long = (
        f"The search in {folder} was ended after {minutes:g} minutes. What it had found by then is in the list. Choose "
        "a folder with fewer files for the rest."
    )
    with _time_limit(limits.SEARCH_SECONDS, too_long):
        found = library.search(Path(folder), look)
    if not found:
        raise WeightsError(
            f"No file that is still missing lies in {folder}. Choose another folder.", code="weights-none-found"
        )
    return [entry.role for entry in found]


def _too_slow(path: Path) -> str:
    return (
        f"{path} could not be looked through within {limits.RECOGNISE_SECONDS:g} seconds. Check its disk or network; "
        "if others are read well, it is no weight file: choose another one, or move it out of the folder."
    )


@contextmanager
def _time_limit(seconds: float, sentence: str) -> Iterator[None]:
    """End this process as failed, with a sentence, if the block takes longer, whatever it waits for."""
    timer = threading.Timer(seconds, _give_up, [sentence])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _give_up(sentence: str) -> None:
    protocol.send(protocol.Failed(sentence, code="weights-too-slow"))
    os._exit(1)


_VERBS: dict[str, Callable[..., list[str]]] = {"download": _download, "choose": _choose, "search": _search}


def main() -> int:
    """Do what the command line says; the process's exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    verb, folder, *arguments = sys.argv[1:]
    try:
        roles = _VERBS[verb](Library(Path(folder)), *arguments)
    except WeightsError as error:
        protocol.send(protocol.Failed(str(error), error.code))
        return 1
    except Exception as error:
        traceback.print_exc()  # to the log
        text = f"The weight files could not be handled: {reason(error)}. The log says where; try again."
        protocol.send(protocol.Failed(text, code="weights-unexpected"))
        return 1
    protocol.send(protocol.Done(" ".join(roles)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
