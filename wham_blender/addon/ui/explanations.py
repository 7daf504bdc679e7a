"""Finds the entry of docs/troubleshooting.md for an error, to be shown beside its message. No bpy.

An entry is a list of messages and a paragraph that explains them all. A message is printed in bold, with "…" for the
parts that differ, and followed by its error code in brackets: ``- **There is no clip at …** (clip-not-found)``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]
_HOLE = "…"
_MIN_LENGTH = 8  # characters besides "…" that a message must have to be recognised without a code; set by hand
_ENTRY = re.compile(r"((?:^- \*\*.+\*\*(?: \([a-z0-9-]+\))?\n)+)\n((?:.+(?:\n|\Z))+)", re.MULTILINE)
_MESSAGE = re.compile(r"^- \*\*(.+)\*\*(?: \(([a-z0-9-]+)\))?$", re.MULTILINE)
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")


@dataclass(frozen=True)
class Entry:
    """One entry of the document."""

    messages: tuple[str, ...]  # their first sentences, without full stops
    codes: frozenset[str]
    explanation: str  # plain text


@cache
def entries() -> list[Entry]:
    """All entries, in the document's order."""
    for folder in (_PACKAGE, _PACKAGE.parent):  # as installed, and in a checkout
        try:
            text = (folder / "docs/troubleshooting.md").read_text("utf-8")
        except OSError:
            continue
        read = []
        for listed, explanation in _ENTRY.findall(text):
            messages, codes = zip(*_MESSAGE.findall(listed), strict=True)
            read.append(Entry(messages, frozenset(filter(None, codes)), _plain(explanation)))
        return read
    return []


def explain(code: str, sentence: str) -> str:
    """The explanation of an error; empty if the document has no entry for it.

    Without a code (jobs of older versions, and what operators refuse) the entry is found by the sentence: the one whose
    message has most characters in common with it.
    """
    if code:
        return next((entry.explanation for entry in entries() if code in entry.codes), "")
    matches = [
        (len(message.replace(_HOLE, "")), entry.explanation)
        for entry in entries()
        for message in entry.messages
        if len(message.replace(_HOLE, "")) >= _MIN_LENGTH and _pattern(message).match(sentence)
    ]
    return max(matches, key=lambda match: match[0])[1] if matches else ""


def _pattern(message: str) -> re.Pattern[str]:
    return re.compile(".+?".join(map(re.escape, message.split(_HOLE))), re.DOTALL)


def _plain(markdown: str) -> str:
    """Markdown as plain text in one line."""
    return " ".join(re.sub(r"[*`]", "", _LINK.sub(r"\1", markdown)).split())
