"""The add-on comes and goes without a trace, and its panel draws."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import addon_utils
import bpy
import pytest

from wham_blender.addon import hooks
from wham_blender.addon.jobs.queue import job_queue
from wham_blender.addon.operators import setup
from wham_blender.addon.operators.bake import WHAM_OT_bake_to_rig
from wham_blender.addon.operators.import_motion import WHAM_OT_import_motion
from wham_blender.addon.operators.jobs import WHAM_OT_import_job
from wham_blender.addon.panels import preferences
from wham_blender.addon.panels.import_clip import WHAM_PT_import
from wham_blender.addon.panels.result import WHAM_PT_edit, WHAM_PT_result, WHAM_PT_result_details
from wham_blender.addon.properties import AUTOMATIC, VideoOptions, copy_options, option_names
from wham_blender.addon.ui import contact_overlay, presets, thumbnails
from wham_blender.addon.ui.options import SECTIONS, draw_options

ROOT = Path(__file__).parents[2]


def traces():
    found = [name for name in dir(bpy.types) if name.startswith("WHAM_")]
    found += [
        name
        for owner in (bpy.types.Object, bpy.types.Scene, bpy.types.WindowManager)
        for name in dir(owner)
        if "wham" in name
    ]
    found += [f.__name__ for f in bpy.types.TOPBAR_MT_file_import._dyn_ui_initialize() if "wham" in f.__module__]
    found += [
        f"{name} handler"
        for name in dir(bpy.app.handlers)
        if isinstance(handlers := getattr(bpy.app.handlers, name), list)
        and any("wham" in handler.__module__ for handler in handlers)
    ]
    left = {
        "overlay": contact_overlay._handle is not None,
        "timer": any(map(bpy.app.timers.is_registered, (job_queue._on_timer, setup._poll_measurement))),
        "thumbnails": thumbnails._pictures is not None,
        "hooks": bool(hooks.after_import),
        "threads": any(thread.name in ("jobs", "job output") for thread in threading.enumerate()),
    }
    return [*found, *(name for name, there in left.items() if there), *dir(bpy.ops.wham)]


def test_comes_and_goes_and_comes():
    assert "WHAM_PT_import" in traces()
    for _ in range(2):
        hooks.after_import.append(print)
        addon_utils.disable("wham_blender", default_set=True)
        assert traces() == []
        addon_utils.enable("wham_blender", default_set=True)
        expected = {"WHAM_PT_import", "WHAM_FH_clips", "import_video", "wham_motion", "_draw_import_menu"}
        assert {*expected, "overlay", "thumbnails", "load_post handler"} <= set(traces())


def test_importers_and_bake_can_be_undone_in_one_step():
    for operator in (WHAM_OT_import_motion, WHAM_OT_import_job, WHAM_OT_bake_to_rig):
        assert "UNDO" in operator.bl_options


@pytest.mark.parametrize("disable", [True, False])
def test_blender_quits_as_it_should(disable):
    """Whether the add-on is disabled before or not; what it leaves pending would hang or crash here."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import bpy, addon_utils\n"
        "addon_utils.enable('wham_blender', default_set=True)\n"
        "bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)\n"
        "addon_utils.enable('wham_blender', default_set=True)\n"
        + "addon_utils.disable('wham_blender', default_set=True)\n"
        * disable
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


class Layout:
    """A stand-in for UILayout that notes what is drawn."""

    def __init__(self, drawn):
        self.drawn = drawn

    def __getattr__(self, call):
        def note(*arguments, **options):
            self.drawn.append((call, *(a for a in arguments if isinstance(a, str)), options.get("text")))
            return (Layout(self.drawn), Layout(self.drawn)) if call == "panel" else Layout(self.drawn)

        return note


def test_panel_and_preferences_draw():
    drawn: list[tuple] = []
    options = {"storage_state": "worker 5.00 GB", "show_options": True, "show_weights": True, "show_farm": True}
    options |= {"torch_build": "AUTO", "farm": "FLAMENCO"}
    stand_in = type("Panel", (), {"layout": Layout(drawn), **options})()
    WHAM_PT_import.draw(stand_in, bpy.context)
    preferences.WHAM_AP_preferences.draw(stand_in, bpy.context)
    assert ("prop", "filepath", None) in drawn
    assert ("operator", "wham.import_video", None) in drawn
    row = drawn.index(("operator", "wham.import_video", None))
    assert "nothing in it is animated yet" in " ".join(call[-1] or "" for call in drawn[:row])


def test_panel_hands_all_its_options_to_the_operator():
    settings = bpy.context.scene.wham
    settings.person, settings.start_frame, settings.fps, settings.clip_end = "ALL", 12, "CLIP", 99
    got = type("Operator", (), {})()
    copy_options(settings, got, VideoOptions)
    assert (got.person, got.start_frame, got.fps, got.clip_end, got.quality) == ("ALL", 12, "CLIP", 99, "AUTO")
    assert set(vars(got)) < set(bpy.ops.wham.import_video.get_rna_type().properties.keys())


def test_nothing_is_left_running():
    assert not job_queue.busy


def test_the_documents_have_the_sections_in_the_order_of_the_panel():
    text = (ROOT / "docs/options.md").read_text("utf-8")
    chapter = text.partition("## Importing a clip")[2].partition("\n## ")[0]
    headings = [line.removeprefix("### ") for line in chapter.splitlines() if line.startswith("### ")]
    assert headings == ["Clip", *SECTIONS]  # the field Clip is above all sections


def test_the_documents_have_the_names_of_all_choices():
    chapter = (ROOT / "docs/scripting.md").read_text("utf-8").partition("## Choices")[2].partition("\n## ")[0]
    known = {(line.split("|")[1].strip(), line.split("|")[3].strip()) for line in chapter.splitlines() if "|" in line}
    for name in dir(bpy.ops.wham):
        for option in getattr(bpy.ops.wham, name).get_rna_type().properties:
            items = option.enum_items_static if option.type == "ENUM" and not option.is_hidden else ()
            named = [f"`{item.identifier}` {item.name}".removesuffix(f" {item.identifier}") for item in items]
            assert not named or (f"`{option.identifier}`", ", ".join(named)) in known, (name, option.identifier)


def test_every_option_is_in_one_section_and_has_a_tooltip():
    drawn: list[tuple] = []
    settings = bpy.context.scene.wham
    settings.target, settings.keying = "BAKE", "FEW"  # with which every option is shown
    boxes = {name: f"{name}_given" for name in AUTOMATIC if hasattr(settings, f"{name}_given")}
    assert len(boxes) == (5 if bpy.app.version >= (4, 5, 0) else 0)
    for name, box in boxes.items():
        assert not getattr(settings, box)
        setattr(settings, box, True)
        assert getattr(settings, name) == pytest.approx(AUTOMATIC[name])
    draw_options(Layout(drawn), settings, "shot_0001.png")
    shown = [call[1] for call in drawn if call[0] in ("prop", "prop_search", "menu")]
    assert sorted(shown) == sorted(
        {
            *option_names(VideoOptions),
            *boxes.values(),
            "WHAM_MT_device",
            "WHAM_MT_person",
        }
        - {"device", "person"}
    )
    hidden = {"rna_type", "filepath", "filter_glob", "directory", "files"}
    for name in dir(bpy.ops.wham):
        rna = getattr(bpy.ops.wham, name).get_rna_type()
        assert rna.description, name
        for key, option in rna.properties.items():
            assert option.description or key in hidden or option.is_hidden, (name, key)


def test_no_tooltip_ends_with_a_full_stop():
    """Blender adds one to every tooltip."""
    types = [getattr(bpy.ops.wham, name).get_rna_type() for name in dir(bpy.ops.wham)]
    types += [bpy.types.Object.bl_rna.properties["wham_motion"].fixed_type, bpy.context.scene.wham.bl_rna]
    types.append(preferences.WHAM_AP_preferences.bl_rna)
    for rna in types:
        texts = [option.description for option in rna.properties]
        texts += [item.description for option in rna.properties if option.type == "ENUM" for item in option.enum_items]
        if rna.base and rna.base.identifier == "Operator":
            texts.append(rna.description)
        assert not [text for text in texts if text.endswith(".")], rna.identifier


def test_all_panels_are_in_one_tab():
    panels = [cls for name in dir(bpy.types) if name.startswith("WHAM_PT_") for cls in [getattr(bpy.types, name)]]
    tabs = {getattr(cls, "bl_category", None) for cls in panels if cls.bl_space_type == "VIEW_3D"}
    assert tabs - {None, ""} == {"Video Motion"}


def test_character_panels_draw(motion_path):
    assert not WHAM_PT_result.poll(bpy.context)
    bpy.ops.wham.import_motion(filepath=str(motion_path), fps="SCENE")
    record = bpy.context.active_object.wham_motion
    record.speed, record.film = 8.0, "it is interlaced"
    drawn: list[tuple] = []
    stand_in = type("Panel", (), {"layout": Layout(drawn)})()
    for panel in (WHAM_PT_result, WHAM_PT_result_details, WHAM_PT_edit):
        assert panel.poll(bpy.context)
        panel.draw(stand_in, bpy.context)
    assert "Foot Sliding" in [call[-1] for call in drawn]
    assert "The scene runs at 24 fps, the clip at 25" in (text := " ".join(call[-1] or "" for call in drawn))
    assert "played 8 times slower than filmed" in text and "a copy, because it is interlaced" in text
    buttons = {call[1].removeprefix("wham.") for call in drawn if call[0] == "operator"}
    assert {"match_scene", "mark_contacts", "smooth_motion", "loop_motion"} <= buttons
    assert buttons <= {*dir(bpy.ops.wham), "screen.animation_play"}


def test_presets_keep_the_options_but_not_the_clip(tmp_path, monkeypatch):
    monkeypatch.setenv("BLENDER_USER_RESOURCES", str(tmp_path))
    settings = bpy.context.scene.wham
    settings.person, settings.quality, settings.focal_length_mm, settings.clip_start = "ALL", "DRAFT", 28.0, 7
    assert bpy.ops.wham.add_import_preset(name="Everybody") == {"FINISHED"}
    (file,) = tmp_path.rglob("presets/operator/wham.import_video/Everybody.py")
    settings.person, settings.quality, settings.focal_length_mm, settings.clip_start = "MAIN", "FULL", 0.0, 9
    bpy.ops.script.execute_preset(filepath=str(file), menu_idname=presets.WHAM_PT_import_presets.__name__)
    assert (settings.person, settings.quality, settings.focal_length_mm) == ("ALL", "DRAFT", 28.0)
    assert settings.clip_start == 9
    # Each that ships sets the same options, so that nothing of one is left after another.
    folders = bpy.utils.preset_paths(presets.WHAM_PT_import_presets.preset_subdir)
    shipped = sorted(path for folder in folders for path in Path(folder).glob("*.py") if path != file)
    assert [path.stem for path in shipped] == ["Dance", "Game_Export", "Phone_Walk", "Several_People"]
    assert len({tuple(re.findall(r"settings\.(\w+) =", path.read_text("utf-8"))) for path in shipped}) == 1
    for path in shipped:
        bpy.ops.script.execute_preset(filepath=str(path), menu_idname=presets.WHAM_PT_import_presets.__name__)
    assert (settings.person, settings.hands) == ("ALL", "RELAXED")
    assert bpy.ops.wham.add_import_preset(remove_name=True, name="Dance") == {"FINISHED"}
    assert shipped[0].is_file()
    assert bpy.ops.wham.add_import_preset(remove_name=True, name="Everybody") == {"FINISHED"}
    assert not file.exists()
