"""The errors that end a job, each with a sentence for the animator and a code."""

from __future__ import annotations

from pathlib import Path

from ..errors import CodedError


class PipelineError(CodedError):
    """A job cannot go on; ``str()`` is a sentence that says what happened, where, and what to do."""


def folder_not_writable(folder: Path, error: OSError) -> PipelineError:
    """The error to raise if files cannot be written into a folder."""
    return PipelineError(
        f"Cannot write to {folder}: {error.strerror or error}. Choose a folder you may write to, with space left.",
        code="folder-not-writable",
    )


def write_failed(folder: Path, error: OSError) -> PipelineError:
    """The error to raise if a file cannot be written into a folder that existed when the job began."""
    if not folder.exists():
        return PipelineError(f"The folder {folder} was deleted while the job ran. Import again.", code="folder-deleted")
    return folder_not_writable(folder, error)
