"""What can go wrong on the way from a clip to a motion, told to an animator."""

from __future__ import annotations

from pathlib import Path


class PipelineError(Exception):
    """A job cannot go on; the text is a sentence that says what, where, and what to do."""


def unwritable(folder: Path, error: OSError) -> PipelineError:
    """What to say where files cannot be written into a folder."""
    return PipelineError(
        f"Cannot write to {folder}: {error.strerror or error}. Choose a folder you may write to, with space left."
    )


def unwritten(folder: Path, error: OSError) -> PipelineError:
    """What to say where a file could not be written into a folder that was there when the job began."""
    if not folder.exists():
        return PipelineError(f"The folder {folder} was deleted while the job ran. Import again.")
    return unwritable(folder, error)
