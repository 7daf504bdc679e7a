"""The data folder, which holds the worker, weights and jobs: its size, and moving it to another disk. No bpy.

The folder is the same for all versions of Blender. A small file in the platform's data folder names it where the user
has moved it; that file is the last thing that a move changes, so an interrupted move loses nothing and can go on.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import CodedError
from ...files import replace_text
from ...folders import NAME, RECORD, data_folder, default_folder, record

_LOCK = "setup.lock"
MOVE_LOG = "move.log"
_STAYS = {RECORD, _LOCK, MOVE_LOG}  # in the platform's folder, wherever the rest goes
_SPARE = 200e6  # bytes that a move leaves free on the new disk
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
    """Bytes of everything in the data folder by name, largest first. Takes seconds: not for drawing."""
    sizes = {
        child.name: sum(size for _, size in _files(child)) if child.is_dir() else child.lstat().st_size
        for child in _children(folder)
    }
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def free_space(folder: Path) -> int:
    """Bytes free on the disk where a folder lies or would lie."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


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
        connection = sqlite3.connect(folder / _LOCK, timeout=0, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise LocationError(
            f"The folder {folder} cannot be written ({error}). Check its permissions.",
            code="worker-folder-not-writable",
        ) from error
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    except sqlite3.OperationalError as error:
        raise LocationError(
            "Another Blender is installing, moving or removing the worker. Wait for its end, then try again.",
            code="setup-in-progress",
        ) from error
    finally:
        connection.close()


def move(chosen: Path, progress: Progress) -> list[str]:
    """Move everything into a folder inside the chosen one; returns what could not be deleted at the old place.

    On one disk it is renamed; to another disk it is copied, checked, and deleted here only when everything is copied.
    The same call continues an interrupted move. Raises LocationError; then everything is still at the old place.
    """
    source, target = data_folder().resolve(), target_in(chosen).absolute().resolve()
    kept = record()
    if target != source:
        _check(source, target, resumed=kept.get("moving_to") == str(target))
        try:
            target.mkdir(parents=True, exist_ok=True)
            _write({"folder": str(source), "moving_to": str(target)})
            _transfer(_children(source), target, progress)
            _write({"folder": str(target), "left_behind": str(source)})
        except OSError as error:
            raise LocationError(
                f"Moving to {target} stopped ({error.strerror or error}). Nothing is lost: all is still in {source}, "
                "and moving there again goes on from here.",
                code="move-stopped",
            ) from error
        old = source
    elif kept.get("left_behind"):
        old = Path(kept["left_behind"])
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
    while not target.exists():
        target = target.parent
    return source.stat().st_dev == target.stat().st_dev


def _transfer(children: list[Path], target: Path, progress: Progress) -> None:
    """Rename each child into the target, or copy it if it lies on another disk or a part of it is in the target."""
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
            _copy(path, copy)
        done += size
        progress(done, total)
    for child in copied:
        for folder, names, _ in os.walk(child):  # a folder without files would be lost
            for name in names:
                (target / Path(folder, name).relative_to(child.parent)).mkdir(parents=True, exist_ok=True)


def _copy(path: Path, copy: Path) -> None:
    # One name for all attempts, so that the next one replaces a large copy that broke off.
    temporary = copy.with_name(f"{copy.name}.part")
    temporary.unlink(missing_ok=True)
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
    if folder != default_folder() and not left and folder.is_dir():
        folder.rmdir()
    return left


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.name not in _STAYS) if folder.is_dir() else []


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """All files and links below a path, or the path itself, with their sizes in bytes; links are not followed."""
    if not folder.is_dir() or folder.is_symlink():
        yield folder, folder.lstat().st_size
        return
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in names + links:
            path = Path(place, name)
            try:
                yield path, path.lstat().st_size
            except FileNotFoundError:  # a job's file that has just gone
                continue


def _write(kept: dict[str, str]) -> None:
    folder = default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / RECORD, json.dumps(kept))
