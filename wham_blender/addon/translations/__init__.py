"""The add-on's texts in the language of Blender's interface.

Each language is a file of this folder, ``{English text: translation}``; ``{0}``, ``{1}`` are what the code fills in.
Blender itself translates labels and tooltips from what `register` gives it. Labels are looked up in `CONTEXT`, where
Blender's own catalogue has nothing: it comes first, and its "Film" is that of a renderer, its "Knee" a curve's and its
"Floor" a function's. Sentences arrive filled in, often from the worker, and are translated by `translate` where they
are shown; what is raised, logged or stored stays English. In English, and without a window, nothing is read.
``python3 tools/texts.py`` lists what a file lacks.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, get_type_hints

import bpy

from ...files import read_bounded

FILES = {
    "de_DE": "de_DE",
    "es": "es",
    "es_ES": "es",
    "fr_FR": "fr_FR",
    "ja_JP": "ja_JP",
    "ko_KR": "ko_KR",
    "pt_BR": "pt_BR",
    "pt_PT": "pt_BR",
    "zh_CN": "zh_HANS",
    "zh_HANS": "zh_HANS",
}  # Blender's languages, and their files
CONTEXT = "Import Video as Motion"  # msgctxt of the add-on's labels; pass it as ``text_ctxt`` of a drawn literal
_MOST_BYTES = 1 << 20  # of a file; the longest has a fifth of that
_MOST_CHARACTERS = 4000  # of a text; longer ones are shown as they are
_NAME = __package__ or __name__  # under which Blender knows the texts
_PACKAGE = __name__.rpartition(".")[0]
_LETTERS = 8  # that a template needs to be looked for within another text, so that no name is taken for one; by hand
_HOLE = re.compile(r"\{(\d)\}")
_SENTENCE_END = re.compile(r"(?<=[.?])\s+")
_registered = ""  # the language whose texts Blender has


@cache
def load(file: str) -> dict[str, str]:
    """The translations of a file by English text; empty if it cannot be read."""
    try:
        texts = json.loads(read_bounded(Path(__file__).parent / f"{file}.json", _MOST_BYTES))
        return {str(english): str(text) for english, text in texts.items() if text}
    except (OSError, ValueError, AttributeError):
        return {}


def language() -> str:
    """The file of the interface's language; empty in English, in other languages and without a window."""
    if bpy.app.background or not bpy.context.preferences.view.use_translate_interface:
        return ""
    return FILES.get(bpy.app.translations.locale, "")


def translate(text: str) -> str:
    """A text as it is shown: translated if its template is known, sentence by sentence otherwise."""
    file = language()
    return _translated(text, file) if file and len(text) <= _MOST_CHARACTERS else text


@lru_cache(maxsize=1000)
def _translated(text: str, file: str) -> str:
    whole = _by_template(text.strip(), file, 1)
    if whole is not None:
        return whole
    sentences, shown = _SENTENCE_END.split(text.strip()), []
    while sentences:  # the longest run of sentences that is one template, from the left
        for count in range(len(sentences), 0, -1):
            run = " ".join(sentences[:count])
            found = _by_template(run, file, _LETTERS)
            if found is not None or count == 1:
                shown.append(_within(run, file) if found is None else found)
                del sentences[:count]
                break
    return " ".join(shown)


def _by_template(text: str, file: str, letters: int) -> str | None:
    """The translation of a text that is one of the file's, or one of its templates with so many letters, filled in."""
    texts = load(file)
    if text in texts:
        return texts[text]
    for parts, order, english, count in _templates(file):
        holes = matched(parts, text) if count >= letters else None
        if holes is not None:
            return _filled(texts[english], dict(zip(order, (_within(hole, file) for hole in holes), strict=True)))
    return None


def _filled(template: str, values: dict[str, str]) -> str:
    return _HOLE.sub(lambda hole: values.get(hole[1], hole[0]), template)


def _within(hole: str, file: str) -> str:
    """What the code filled in: translated if it is a text itself, or a list of them. A name is none."""
    for mark in ("; ", ", "):  # first, as a template would take a list of its own texts for one
        pieces = [_clause(piece, file) for piece in hole.split(mark)]
        if len(pieces) > 1 and None not in pieces:
            return mark.join(filter(None, pieces))
    whole = _clause(hole, file)
    return whole or "".join(_clause(piece, file) or piece for piece in re.split(r"(; |, )", hole))


def _clause(text: str, file: str) -> str | None:
    is_name = " " not in text and not text.islower()
    return None if is_name else _by_template(text, file, _LETTERS)


@cache
def _templates(file: str) -> list[tuple[list[str], list[str], str, int]]:
    """Literal parts, holes, text and number of letters of each template of a file, the longest first."""
    found = []
    for english in load(file):
        parts = _HOLE.split(english)
        if len(parts) > 1:
            found.append((parts[::2], parts[1::2], english, sum(map(str.isalpha, "".join(parts[::2])))))
    return sorted(found, key=lambda template: -len("".join(template[0])))


def matched(parts: list[str], text: str) -> list[str] | None:
    """What stands between literal parts in a text, as short as it can be from the left; None if it does not fit."""
    at, end = len(parts[0]), len(text) - len(parts[-1])
    if end < at or not (text.startswith(parts[0]) and text.endswith(parts[-1])):
        return None
    holes = []
    for part in parts[1:-1]:
        found = text.find(part, at, end)
        if found < 0:
            return None
        holes.append(text[at:found])
        at = found + len(part)
    return [*holes, text[at:end]]


def report(operator: Any, kinds: set[str], text: str) -> None:
    """Report a text in an operator, translated; an error stays English where a script gets it as an exception."""
    operator.report(kinds, text if "ERROR" in kinds and _from_script() else translate(text))


def _from_script() -> bool:
    """Whether Python called the operator that runs, instead of Blender after an event."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_name not in {"execute", "invoke", "modal"}


@bpy.app.handlers.persistent
def _update(*_: object) -> None:
    """Give Blender the texts of the language that was chosen, and take away those of the one before."""
    global _registered
    file = FILES.get(bpy.app.translations.locale, "")
    locale = bpy.app.translations.locale if file else ""
    if locale == _registered:
        return
    if _registered:
        bpy.app.translations.unregister(_NAME)
    _registered = locale
    if file:
        bpy.app.translations.register(_NAME, {locale: messages(file)})


def messages(file: str) -> dict[tuple[str, str], str]:
    """The texts of a file without holes by context and English text, as Blender looks labels and buttons up."""
    contexts = bpy.app.translations.contexts
    names = (CONTEXT, contexts.default, contexts.operator_default)  # the others: Blender's buttons, menus and tooltips
    return {(name, english): text for english, text in load(file).items() if "{0}" not in english for name in names}


@contextmanager
def in_context(cls: type) -> Iterator[None]:
    """While a class is registered: Blender shall look up its labels in `CONTEXT`."""
    if issubclass(cls, (bpy.types.Operator, bpy.types.Macro, bpy.types.Panel, bpy.types.Menu)):
        cls.bl_translation_context = CONTEXT  # type: ignore[attr-defined]
    texts = []
    for base in cls.__mro__:
        own = vars(base).get("__annotations__", {})
        for name, hint in get_type_hints(base).items() if base.__module__.startswith(_PACKAGE) else ():
            if name in own and hasattr(hint, "keywords"):  # a property of bpy.props
                hint.keywords["translation_context"] = CONTEXT
                texts.append((own, name, own[name]))
                own[name] = hint
    yield
    for own, name, text in texts:  # Blender 4.2 crashes when it quits if classes keep properties that name a type
        own[name] = text


def register() -> None:
    """Give Blender the texts of its language, now and when another one is chosen."""
    bpy.app.handlers.translation_update_post.append(_update)
    _update()


def unregister() -> None:
    """Take them away."""
    global _registered
    bpy.app.handlers.translation_update_post.remove(_update)
    if _registered:
        bpy.app.translations.unregister(_NAME)
    _registered = ""
