"""The clips in a folder, for a batch of jobs: videos and image sequences. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

from . import limits
from .errors import CodedError
from .image_sequence import PICTURE_SUFFIXES, series

CLIP_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")


class ClipFolderError(CodedError):
    """A folder cannot be read, or has no clips."""


def clips_in(folder: Path) -> list[Path]:
    """The videos of a folder and one picture of each image sequence in it, sorted by name; subfolders are left out.

    Raises ClipFolderError if there are none, or the folder cannot be read.
    """
    videos, sequences = [], dict[str, list[str]]()
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries, 1):
                if number > limits.FOLDER_ENTRIES:
                    raise ClipFolderError(
                        f"The folder {folder.name} has more than {limits.FOLDER_ENTRIES} files. Move its clips to "
                        "several folders.",
                        code="clip-folder-too-large",
                    )
                suffix = Path(entry.name).suffix.lower()
                if entry.name.startswith("."):  # macOS puts "._" files beside others
                    continue
                if suffix in CLIP_SUFFIXES:
                    videos.append(entry.name)
                elif suffix in PICTURE_SUFFIXES:
                    sequences.setdefault(series(entry.name), []).append(entry.name)
    except OSError as error:
        raise ClipFolderError(
            f"The clips in {folder} cannot be listed: {error.strerror}. Check the path, and that you may read it.",
            code="clip-folder-unreadable",
        ) from error
    names = [*videos, *(min(pictures) for pictures in sequences.values() if len(pictures) > 1)]
    if not names:
        raise ClipFolderError(
            f"The folder {folder.name} has no clips. Choose one with videos ({', '.join(CLIP_SUFFIXES)}) or numbered "
            "pictures.",
            code="clip-folder-empty",
        )
    return [folder / name for name in sorted(names)]
