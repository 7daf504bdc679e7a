"""The clips of a batch: from paths, patterns, folders and lists (CSV, JSON lines), each with its options and output."""

from __future__ import annotations

import argparse
import csv
import glob
import hashlib
import io
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ... import limits, records
from ...clip_folder import clips_in
from ...errors import CodedError, one_line
from ...files import read_bounded
from ..options import add_job_options, path_of

_LISTS = {".csv": "CSV", ".jsonl": "JSON lines"}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class BatchError(CodedError):
    """A batch cannot begin; the text is a sentence that names the list and its line."""


@dataclass(frozen=True)
class BatchClip:
    """A clip of a batch."""

    clip: Path
    arguments: tuple[str, ...]  # its own options, of `options.add_job_options`
    output: Path  # the motion file

    @property
    def size(self) -> int:
        """Bytes of the file, as a measure of the work; 0 if it is missing, and of one picture for a sequence."""
        try:
            return self.clip.stat().st_size
        except (OSError, ValueError):
            return 0


class _LineParser(argparse.ArgumentParser):
    """Raises ValueError instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def find_clips(named: list[str], output: Path) -> list[BatchClip]:
    """The clips that paths, patterns, folders and lists name, in their order, each once.

    Each motion file is named after its clip; clips of the same name get a part of a hash of path and options added, so
    that a clip keeps its motion file when others are added to the batch. Raises BatchError or ClipFolderError.
    """
    found: dict[tuple[Path, tuple[str, ...]], None] = {}
    for text in named:
        for clip, arguments in _clips_of(path_of(text)):
            found[Path(os.path.abspath(clip)), arguments] = None  # noqa: PTH100 - links stay: names come from them
            if len(found) > limits.BATCH_CLIPS:
                raise BatchError(
                    f"{text} and what is before it name more than {limits.BATCH_CLIPS} clips. Give them in several "
                    "batches.",
                    code="batch-too-large",
                )
    if not found:
        raise BatchError("No clip was named. Give videos, patterns, folders or lists.", code="no-clip-named")
    # Compared as file systems without upper case do.
    used = Counter(_stem(clip).casefold() for clip, _ in found)
    clips = []
    for clip, arguments in found:
        name = _stem(clip)
        if used[name.casefold()] > 1:
            named_by = hashlib.sha256(os.fsencode("\0".join([str(clip), *arguments]))).hexdigest()[:8]
            name = f"{name}-{named_by}"
        clips.append(BatchClip(clip, arguments, output / f"{name}.npz"))
    return clips


def _stem(clip: Path) -> str:
    return one_line(clip.stem[:60]).replace("?", "_").strip() or "clip"


def _clips_of(path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The clips that one argument names, and their own options."""
    if path.suffix.lower() in _LISTS and path.is_file():
        yield from _listed(path)
    elif path.is_dir():
        yield from ((clip, ()) for clip in clips_in(path))
    elif glob.has_magic(str(path)) and not path.exists():
        matches = glob.iglob(str(path), recursive=True)  # noqa: PTH207 - the pattern may be absolute
        clips = [Path(match) for match in itertools.islice(matches, limits.BATCH_CLIPS + 1)]
        if not clips:
            raise BatchError(f"No file is named {path}. Check the pattern.", code="clip-pattern-empty")
        yield from ((clip, ()) for clip in sorted(clips) if clip.is_file())
    else:
        yield path, ()  # a video that may be missing, which is told with the others, or a pattern with ####


def _listed(path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The clips of a list; paths count from the list's folder."""
    parser = add_job_options(_LineParser(add_help=False, allow_abbrev=False))
    known = {action.dest: action for action in parser._actions}
    try:
        text = read_bounded(path, limits.BATCH_LIST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BatchError(
            f"The list {path.name} cannot be read: {cause}. Give a CSV file or JSON lines, as UTF-8 text of at most "
            f"{limits.BATCH_LIST_BYTES // limits.MB} MB.",
            code="clip-list-unreadable",
        ) from error
    rows = _csv_rows(text) if path.suffix.lower() == ".csv" else _json_rows(text)
    try:
        for number, values in rows:
            try:
                clip, arguments = _row(values, known, path.parent)
                parser.parse_args(list(arguments))
            except (ValueError, argparse.ArgumentTypeError) as error:
                raise _invalid(path, number, error) from error
            yield clip, arguments
    except csv.Error as error:
        raise BatchError(
            f"The list {path.name} is no CSV file of clips: {one_line(str(error))[:300]}. Save it with a column clip, "
            "and with commas between the columns.",
            code="clip-list-invalid",
        ) from error


def _invalid(path: Path, number: int, error: Exception) -> BatchError:
    return BatchError(
        f"Line {number} of {path.name} is wrong: {one_line(str(error))[:300]}. Each line has a clip, and options named "
        "as on the command line.",
        code="clip-list-invalid",
    )


def _csv_rows(text: str) -> Iterator[tuple[int, dict[str, object]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = [name.strip() for name in next(reader, [])]
    if "clip" not in header or len(set(header)) < len(header):
        raise csv.Error("its first line must name the columns, once each, and one of them clip")
    for cells in reader:
        if any(cell.strip() for cell in cells):
            if len(cells) > len(header):
                raise csv.Error(f"line {reader.line_num} has {len(cells)} cells, and there are {len(header)} columns")
            yield reader.line_num, {name: cell.strip() for name, cell in zip(header, cells, strict=False)}


def _json_rows(text: str) -> Iterator[tuple[int, dict[str, object]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                values = records.parse(line, limits.MESSAGE_BYTES)
            except records.InvalidRecord as error:
                values = str(error)
            yield number, values if isinstance(values, dict) else {"": values}


def _row(values: dict[str, object], known: dict[str, argparse.Action], folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Clip and options of a line, paths from a folder on. Empty values count as missing. Raises ValueError."""
    given = {name.replace("-", "_"): value for name, value in values.items() if value not in ("", None)}
    clip = given.pop("clip", None)
    if not isinstance(clip, str):
        raise ValueError(str(values.get("", "it names no clip")))
    arguments = []
    for name, value in given.items():
        if name not in known or not isinstance(value, str | int | float):
            raise ValueError(f"{name} is no option with a single value")
        if isinstance(known[name], argparse.BooleanOptionalAction):
            truth = _TRUTH.get(str(value).lower())
            if truth is None:
                raise ValueError(f"{name} is neither true nor false")
            arguments.append(f"--{'' if truth else 'no-'}{name}")
        else:
            text = folder / path_of(str(value)) if known[name].type is path_of else value
            arguments.append(f"--{name.replace('_', '-')}={text}")
    return folder / path_of(clip), tuple(arguments)
