"""The base of every error that is told to an animator: a sentence, and a code by which the documents are found."""

from __future__ import annotations


class CodedError(Exception):
    """Something cannot go on; ``str()`` is a sentence that says what happened, where, and what to do.

    ``code`` names the kind of error in docs/troubleshooting.md. It stays when the sentence's wording changes.
    """

    def __init__(self, text: str, *, code: str = "") -> None:
        super().__init__(text)
        self.code = code
