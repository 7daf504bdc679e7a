"""Texts appear in the language of Blender's interface, wherever they are shown, and only there."""

from types import SimpleNamespace

import bpy
import pytest

from wham_blender.addon import registration, translations
from wham_blender.addon.ui import ui_text

GERMAN = {
    "Mark Contacts": "Kontakte markieren",
    "There is no clip at {0}. Choose a video file.": "Unter {0} ist kein Clip. Eine Videodatei wählen.",
    "The job cannot be kept in {0}: {1}. Make space, or choose another jobs folder in the preferences.": (
        "Der Auftrag passt nicht nach {0} ({1}). Platz schaffen."
    ),
    "it has {0} vertices": "{0} Punkte",
    "{0} has the shape {1}": "{0}: Form {1}",
    "{0} to {1}": "{0} bis {1}",
    "Camera": "Kamera",
    "the left knee": "linkes Knie",
    "Here {0} bends forward by {1} degrees. Rotate it back by hand, or use Smooth Motion.": "Um {1} Grad gebeugt: {0}.",
}


@pytest.fixture
def german(monkeypatch):
    """The interface is in German; this bpy has no languages, so that they cannot be chosen."""
    monkeypatch.setattr(translations, "load", lambda file: GERMAN if file == "german" else {})
    monkeypatch.setattr(translations, "language", lambda: "german")


@pytest.mark.parametrize(
    ("english", "shown"),
    [
        ("Mark Contacts", "Kontakte markieren"),
        ("There is no clip at /a b.mp4. Choose a video file.", "Unter /a b.mp4 ist kein Clip. Eine Videodatei wählen."),
        # clauses in a hole are translated; names are not, though they may read like a text
        (
            "The job cannot be kept in Camera: it has 3 vertices. Make space, or choose another jobs folder in the "
            "preferences.",
            "Der Auftrag passt nicht nach Camera (3 Punkte). Platz schaffen.",
        ),
        (
            "There is no clip at 1 to 2.mp4. Choose a video file.",
            "Unter 1 to 2.mp4 ist kein Clip. Eine Videodatei wählen.",
        ),
        (
            "Here the left knee bends forward by 20 degrees. Rotate it back by hand, or use Smooth Motion.",
            "Um 20 Grad gebeugt: linkes Knie.",
        ),
        # a list of clauses is none of them with the others in its hole
        ("it has 3 vertices; skin has the shape 4; Arm", "3 Punkte; skin: Form 4; Arm"),
        (
            "The job cannot be kept in Camera: it has 3 vertices, it has 4 vertices. Make space, or choose another "
            "jobs folder in the preferences.",
            "Der Auftrag passt nicht nach Camera (3 Punkte, 4 Punkte). Platz schaffen.",
        ),
        # one after the other
        (
            "I saw it. There is no clip at a. Choose a video file. Or not.",
            "I saw it. Unter a ist kein Clip. Eine Videodatei wählen. Or not.",
        ),
        ("1 to 2", "1 bis 2"),
        ("Something that nobody knows. At all", "Something that nobody knows. At all"),
    ],
)  # fmt: skip
def test_filled_sentences_are_translated(german, english, shown):
    assert translations.translate(english) == shown


def test_each_template_finds_itself_when_it_is_filled_in(monkeypatch):
    """Not another one that would fit, too."""
    table = {text: f"{number}: {text}" for number, text in enumerate(translations.load("de_DE"))}
    assert len(table) > 1000
    monkeypatch.setattr(translations, "load", lambda file: table)
    values = {f"{{{hole}}}": f"Ab{hole}" for hole in range(9)}
    for text, said in table.items():
        filled, expected = text, said
        for hole, value in values.items():
            filled, expected = filled.replace(hole, value), expected.replace(hole, value)
        assert translations._by_template(filled, "all", 1) == expected, text


def test_without_a_window_everything_stays_english():
    assert translations.language() == ""
    assert translations.translate("Mark Contacts") == "Mark Contacts"


def test_an_error_that_a_script_catches_stays_english(german):
    said = []
    operator = SimpleNamespace(report=lambda kinds, text: said.append(text))
    translations.report(operator, {"ERROR"}, "There is no clip at a. Choose a video file.")
    translations.report(operator, {"WARNING"}, "Mark Contacts")
    assert said == ["There is no clip at a. Choose a video file.", "Kontakte markieren"]


def test_panels_show_the_translation(german):
    shown = []
    column = SimpleNamespace(label=lambda text, icon: shown.append(text))
    ui_text.draw_sentence(SimpleNamespace(column=lambda align: column), "There is no clip at a. Choose a video file.")
    assert " ".join(shown) == "Unter a ist kein Clip. Eine Videodatei wählen."


def test_text_without_blanks_is_wrapped():
    text = "人物が見つかりません。別のクリップを選んでください。"
    lines = ui_text.wrap_to_width(text, 6)
    assert len(lines) > 2
    assert "".join(lines) == text
    assert not any(line.startswith("。") for line in lines)
    assert ui_text.wrap_to_width("two words", 100) == ["two words"]


def test_labels_are_looked_up_where_blenders_catalogue_has_nothing():
    """Its "Film" is a renderer's, its "Knee" a curve's; it comes before the add-on's texts."""
    for cls in registration._CLASSES:
        kind = cls.bl_rna
        if issubclass(cls, (bpy.types.Operator, bpy.types.Macro)):
            kind = getattr(bpy.ops.wham, cls.bl_idname.removeprefix("wham.")).get_rna_type()
        own = {name for base in cls.__mro__ for name in vars(base).get("__annotations__", ())
               if base.__module__.startswith("wham_blender")}  # fmt: skip
        own -= {"name"}  # of property groups: Blender's own
        found = {each.translation_context for each in kind.properties if each.identifier in own}
        if issubclass(cls, (bpy.types.Operator, bpy.types.Macro, bpy.types.Panel, bpy.types.Menu)):
            found.add(kind.translation_context)
        assert found <= {translations.CONTEXT}, cls


def test_blender_gets_the_texts_of_its_language_and_loses_them(monkeypatch):
    """A stand-in for Blender's registry: this bpy has no languages."""
    known: dict[str, dict] = {}
    app = SimpleNamespace(locale="de_DE", contexts=bpy.app.translations.contexts, register=known.__setitem__,
                          unregister=known.pop)  # fmt: skip
    handlers = SimpleNamespace(translation_update_post=[])
    monkeypatch.setattr(translations, "bpy", SimpleNamespace(app=SimpleNamespace(translations=app, handlers=handlers)))
    monkeypatch.setattr(translations, "load", lambda file: GERMAN if file == "de_DE" else {})
    translations.register()
    texts = known["wham_blender.addon.translations"]["de_DE"]
    for context in ("*", "Operator", translations.CONTEXT):
        assert texts[context, "Mark Contacts"] == "Kontakte markieren"
    assert not any("{0}" in english for _, english in texts)
    app.locale = "en_US"
    handlers.translation_update_post[0]()
    assert known == {}
    app.locale = "de_DE"
    handlers.translation_update_post[0]()
    assert known
    translations.unregister()
    assert (known, handlers.translation_update_post) == ({}, [])
