"""The base class of all errors that are shown to an animator: a sentence, and a code of docs/troubleshooting.md."""

from __future__ import annotations

import re

# Lone surrogates, which stand for bytes that are not UTF-8: Blender's reports refuse them. Control characters: a
# terminal obeys them. Embeddings and overrides of the direction of writing: they turn the rest of a sentence around.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """A text with "?" for what names of files may have and nothing can show; line breaks and tabs stay."""
    return _UNPRINTABLE.sub("?", text)


def one_line(text: str) -> str:
    """`printable` in one line: spaces for line breaks and tabs, which names of files may have, too."""
    return "".join(each if each.isprintable() else " " if each.isspace() else "?" for each in printable(text))


def reason(error: BaseException) -> str:
    """What an exception says, to be quoted in a sentence: its first line, or its type if it says nothing."""
    return one_line(next(iter(str(error).strip().splitlines()), "")[:300]) or type(error).__name__


class CodedError(Exception):
    """``str()`` is a sentence for an animator: what happened, where, and what to do.

    ``code`` names the kind of error in docs/troubleshooting.md. It stays the same when the sentence is reworded.
    """

    def __init__(self, text: str, *, code: str = "") -> None:
        super().__init__(one_line(text))
        self.code = code
