"""What can go wrong on the way from a clip to a motion, told to an animator."""

from __future__ import annotations


class PipelineError(Exception):
    """A job cannot go on; the text is a sentence that says what, where, and what to do."""
