"""The base class of all errors that are shown to an animator: a sentence, and a code of docs/troubleshooting.md."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text with "?" for lone surrogates, which names of files may have and Blender's reports refuse."""
    return text.encode("utf-8", "replace").decode()


def one_line(text: str) -> str:
    """A printable text without line breaks, and "?" for control characters, which names in damaged files may hold."""
    return "".join(each if each.isprintable() else "?" for each in " ".join(printable(text).split()))


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
