"""What can go wrong on the way from a clip to a motion, told to an animator."""

from __future__ import annotations

from pathlib import Path

from ..errors import CodedError


class PipelineError(CodedError):
    """A job cannot go on; the text is a sentence that says what, where, and what to do."""


def folder_not_writable(folder: Path, error: OSError) -> PipelineError:
    """What to say where files cannot be written into a folder."""
    return PipelineError(
        f"Cannot write to {folder}: {error.strerror or error}. Choose a folder you may write to, with space left."
    )


def write_failed(folder: Path, error: OSError) -> PipelineError:
    """What to say where a file could not be written into a folder that was there when the job began."""
    if not folder.exists():
        return PipelineError(f"The folder {folder} was deleted while the job ran. Import again.")
    return folder_not_writable(folder, error)
