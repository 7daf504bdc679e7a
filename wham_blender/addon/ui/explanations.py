"""What docs/troubleshooting.md says of a sentence, so that it can be shown beside it. No bpy.

An entry is a list of bold sentences, in which "…" stands for what differs, and a paragraph that belongs to all of them.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]
_HOLE = "…"
_LEAST = 8  # letters that an entry's sentence must have besides holes to be recognised
_BLOCK = re.compile(r"((?:^- \*\*.+\*\*\n)+)\n((?:.+(?:\n|\Z))+)", re.MULTILINE)
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")


@cache
def entries() -> dict[str, str]:
    """Openings of sentences, as the document has them, and the plain text that explains each."""
    for folder in (_PACKAGE, _PACKAGE.parent):  # as installed, and in a checkout
        try:
            text = (folder / "docs/troubleshooting.md").read_text("utf-8")
        except OSError:
            continue
        found: dict[str, str] = {}
        for openings, words in _BLOCK.findall(text):
            found |= dict.fromkeys(re.findall(r"\*\*(.+)\*\*", openings), _plain(words))
        return found
    return {}


def explain(sentence: str) -> str:
    """What the document says of a sentence; empty where it has no entry. The entry with most words of it counts."""
    found = [opening for opening in entries() if _fixed(opening) >= _LEAST and _pattern(opening).match(sentence)]
    return entries()[max(found, key=_fixed)] if found else ""


def _fixed(opening: str) -> int:
    return len(opening.replace(_HOLE, ""))


def _pattern(opening: str) -> re.Pattern[str]:
    return re.compile(".+?".join(map(re.escape, opening.split(_HOLE))), re.DOTALL)


def _plain(markdown: str) -> str:
    """Markdown's text in one line, without its signs."""
    return " ".join(re.sub(r"[*`]", "", _LINK.sub(r"\1", markdown)).split())
