"""The base class of all errors that are shown to an animator: a sentence, and a code of docs/troubleshooting.md."""

from __future__ import annotations


class CodedError(Exception):
    """``str()`` is a sentence for an animator: what happened, where, and what to do.

    ``code`` names the kind of error in docs/troubleshooting.md. It stays the same when the sentence is reworded.
    """

    def __init__(self, text: str, *, code: str = "") -> None:
        super().__init__(text)
        self.code = code
