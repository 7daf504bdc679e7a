"""The data folder, which holds the worker, weights and jobs: its size, and moving it to another disk. No bpy.

The folder is the same for all versions of Blender. A small file in the platform's data folder names it where the user
has moved it; that file is the last thing that a move changes, so an interrupted move loses nothing and can go on.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import CodedError, reason
from ...files import replace_text
from ...folders import NAME, RECORD, data_folder, default_folder, record

_LOCK = "setup.lock"
MOVE_LOG = "move.log"
_COPY = ".moving"  # in the target: the file that is being copied
_STAYS = {RECORD, _LOCK, MOVE_LOG, _COPY}  # in the platform's folder, wherever the rest goes
_SPARE = 200e6  # bytes that a move leaves free on the new disk
_LOOK = 0.5  # seconds that a process waits for `in_use` of others, which takes a thousandth; set by hand
_CLOCK_STEP = 2.0  # seconds, the coarsest that file systems keep of a file's time (FAT)

Progress = Callable[[int, int], None]  # bytes done, bytes in total


class LocationError(CodedError):
    """The data folder cannot be written or moved there."""


def unfinished_move() -> Path | None:
    """The folder that an interrupted move was going to, or whose old files it could not delete yet."""
    kept = record()
    if kept.get("left_behind"):
        return data_folder()
    return Path(kept["moving_to"]) if kept.get("moving_to") else None


def usage(folder: Path) -> dict[str, int]:
    """Bytes of all that can be read in the data folder by name, largest first. Takes seconds: not for drawing."""
    sizes: dict[str, int] = {}
    with suppress(OSError):
        for child in _children(folder):
            sizes[child.name] = sum(size for _, size in _files(child, strict=False))
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def free_space(folder: Path) -> int:
    """Bytes free on the disk where a folder lies or would lie. Raises OSError if there is no such disk."""
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    """The folder itself or the nearest one above it that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def target_in(chosen: Path) -> Path:
    """The folder that a move to the chosen one makes: a new one in it, so that no other files are mixed in."""
    return chosen if chosen.name == NAME else chosen / NAME


@contextmanager
def exclusive() -> Iterator[None]:
    """Only one process at a time installs, moves or removes; raises LocationError if another one does.

    SQLite's file lock is the standard library's only one that works on every platform and ends with its process.
    """
    folder = default_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        connection = _lock(folder / _LOCK)
    except (OSError, sqlite3.Error) as error:
        if _is_locked(error):
            raise LocationError(
                "Another Blender is installing, moving or removing the worker. Wait for its end, then try again.",
                code="setup-in-progress",
            ) from error
        raise LocationError(
            f"The folder {folder} cannot be written ({reason(error)}). Check its permissions.",
            code="worker-folder-not-writable",
        ) from error
    try:
        yield
    finally:
        connection.close()


def in_use() -> bool:
    """Whether a process is installing, moving or removing. Quick enough for drawing."""
    path = default_folder() / _LOCK
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0)
        try:
            connection.execute("SELECT name FROM sqlite_master")  # reading needs a lock, which an exclusive one refuses
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        return _is_locked(error)
    return False


def _is_locked(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _lock(path: Path) -> sqlite3.Connection:
    """A connection that holds the lock until it is closed. Raises OSError or sqlite3.Error."""
    for attempt in range(2):
        connection = sqlite3.connect(path, timeout=_LOOK, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
            return connection
        except sqlite3.Error as error:
            connection.close()
            if attempt or error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise
            os.truncate(path, 0)  # damaged: it never holds anything, and an empty file is a database, too
    raise AssertionError


def move(chosen: Path, progress: Progress) -> list[str]:
    """Move everything into a folder inside the chosen one; returns what could not be deleted at the old place.

    On one disk it is renamed; to another disk it is copied, checked, and deleted here only when everything is copied.
    The same call continues an interrupted move. Raises LocationError; then the old place is still the one in use.
    """
    target = target_in(chosen)
    try:
        return _move(target, progress)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
        place = getattr(error, "filename2", None) or getattr(error, "filename", None)
        cause = getattr(error, "strerror", None) or reason(error)
        shown = f"{place}: {cause}" if place else cause
        raise LocationError(
            f"Moving to {target} stopped ({shown}). Nothing is lost: moving there again goes on from here, and "
            f"{data_folder()} is used until then.",
            code="move-stopped",
        ) from error


def _move(target: Path, progress: Progress) -> list[str]:
    source, target = data_folder().resolve(), target.absolute().resolve()
    kept = record()
    if target != source:
        _check(source, target, resumed=kept.get("moving_to") == str(target))
        target.mkdir(parents=True, exist_ok=True)
        _write({"folder": str(source), "moving_to": str(target)})
        children = _children(source)
        try:
            _transfer(children, target, progress)
            _write({"folder": str(target), "left_behind": str(source)})
        except BaseException:
            _take_back(children, target)
            raise
        old = source
    elif kept.get("left_behind"):
        old = Path(kept["left_behind"])
        if old.name != NAME and old != default_folder().resolve():  # never the files of others
            raise ValueError(f"{old} was never the folder of this add-on, so it is not deleted")
    else:
        raise LocationError(
            f"Everything lies in {source} already. Choose another folder.", code="move-target-unsuitable"
        )
    left = _delete(old)
    if not left:
        _write({"folder": str(target)})
    return left


def _check(source: Path, target: Path, resumed: bool) -> None:
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise LocationError(
            f"{target} and {source} lie inside one another. Choose a folder elsewhere.", code="move-target-unsuitable"
        )
    ours = {child.name for child in _children(source)}
    there = {child.name for child in _children(target)}
    if not resumed and ours & there:
        raise LocationError(
            f"{target} has a {' and a '.join(sorted(ours & there))} already. Choose another folder, or delete them.",
            code="move-target-unsuitable",
        )
    if source.exists() and not _same_disk(source, target):
        needed = sum(size for child in _children(source) for _, size in _files(child))
        needed -= sum(size for child in _children(target) for _, size in _files(child))
        free = free_space(target)
        if free < needed + _SPARE:
            raise LocationError(
                f"There is not enough space in {target.parent}: {needed / 1e9:.1f} GB are to be moved and "
                f"{free / 1e9:.1f} GB are free. Make room or choose another disk.",
                code="move-disk-full",
            )


def _same_disk(source: Path, target: Path) -> bool:
    return source.stat().st_dev == _existing(target).stat().st_dev


def _take_back(children: list[Path], target: Path) -> None:
    """Rename those that a move which stopped had renamed: the old place remains the one in use."""
    for child in children:
        with suppress(OSError):
            if not os.path.lexists(child):
                (target / child.name).rename(child)


def _transfer(children: list[Path], target: Path, progress: Progress) -> None:
    """Rename each child into the target, or copy it if it lies on another disk or a part of it is in the target."""
    (target / _COPY).unlink(missing_ok=True)  # of a process that was killed
    copied = []
    for child in children:
        there = target / child.name
        try:
            if there.exists():
                raise OSError
            child.rename(there)
        except OSError:
            copied.append(child)
    files = [(path, target / path.relative_to(child.parent), size) for child in copied for path, size in _files(child)]
    total = sum(size for *_, size in files)
    done = 0
    progress(done, total)
    for path, copy, size in files:
        if not _is_copy(path, copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            _copy(path, copy, target / _COPY)
        done += size
        progress(done, total)
    for child in copied:
        for folder, names, _ in os.walk(child, onerror=_fail):  # a folder without files would be lost
            for name in names:
                (target / Path(folder, name).relative_to(child.parent)).mkdir(parents=True, exist_ok=True)


def _copy(path: Path, copy: Path, temporary: Path) -> None:
    """Copy a file or link to a temporary file, which is then renamed to ``copy`` and never stays."""
    try:
        try:
            shutil.copy2(path, temporary, follow_symlinks=False)
        except OSError:
            if not path.is_symlink():
                raise
            if path.is_dir():  # a disk without links: the linked folder's files are copied by themselves
                return
            shutil.copy2(path, temporary)
        if not path.is_symlink() and temporary.stat().st_size != path.stat().st_size:
            raise OSError(0, f"{copy} is not as large as {path}")
        temporary.replace(copy)
    finally:
        with suppress(OSError):  # must not hide the exception
            temporary.unlink(missing_ok=True)


def _is_copy(path: Path, copy: Path) -> bool:
    if path.is_symlink():
        return copy.is_symlink() or copy.exists()
    if not copy.is_file():
        return False
    here, there = path.stat(), copy.stat()
    return here.st_size == there.st_size and abs(here.st_mtime - there.st_mtime) <= _CLOCK_STEP


def _delete(folder: Path) -> list[str]:
    """Delete what was moved from a folder; the names of those that cannot be deleted."""
    left = []
    for child in _children(folder):
        try:
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
        except OSError:
            left.append(str(child))
    if folder != default_folder() and not left:
        with suppress(OSError):  # what is not moved may lie in it
            folder.rmdir()
    return left


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.name not in _STAYS) if folder.is_dir() else []


def _files(folder: Path, strict: bool = True) -> Iterator[tuple[Path, int]]:
    """All regular files and links below a path, or the path itself, with their sizes in bytes; links are not followed.

    Pipes and sockets are left out. strict: raise OSError for subfolders that cannot be read, which would not be moved.
    """
    paths: Iterator[Path] = iter([folder])
    if folder.is_dir() and not folder.is_symlink():
        paths = (
            Path(place, name)
            for place, folders, names in os.walk(folder, onerror=_fail if strict else None)
            for name in names + [name for name in folders if Path(place, name).is_symlink()]
        )
    for path in paths:
        with suppress(FileNotFoundError):  # a job's file that has just gone
            state = path.lstat()
            if stat.S_ISREG(state.st_mode) or stat.S_ISLNK(state.st_mode):
                yield path, state.st_size


def _fail(error: OSError) -> None:
    raise error


def _write(kept: dict[str, str]) -> None:
    folder = default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / RECORD, json.dumps(kept))
