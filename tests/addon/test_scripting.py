"""The examples of docs/scripting.md and the README run unchanged, with a stand-in for the worker."""

import re
import shutil
import sys
import types
from pathlib import Path

import bpy
import pytest

import wham_blender
from tests.addon.conftest import CLIP
from tests.rigs import make
from wham_blender.addon import hooks
from wham_blender.addon.retarget import rig_map_state

DOCUMENT = Path(__file__).parents[2] / "docs/scripting.md"
WORKER = (
    "if 'nobody' in arguments[0]: say(protocol.Failed('No person found in nobody.mp4 (230 frames looked at).'))\n"
    "else: shutil.copy({motion!r}, arguments[2]); say(protocol.Done(arguments[2]))\n"
)


def code_blocks(text):
    """The Python of a Markdown text, in order."""
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def examples(heading):
    """The Python of a section of docs/scripting.md, in order."""
    section = re.split(rf"^##+ {heading}\n", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE)[1]
    return code_blocks(re.split(r"^##+ ", section, flags=re.MULTILINE)[0])


@pytest.fixture
def run(tmp_path, fake_worker, motion_path, monkeypatch):
    """Runs an example with /clips and /studio replaced by folders of the test."""
    takes = tmp_path / "clips/takes"
    takes.mkdir(parents=True)
    (tmp_path / "studio").mkdir()
    shutil.copy(CLIP, tmp_path / "clips/walk.mp4")
    for name in ("dance.npz", "walk.npz"):
        shutil.copy(motion_path, tmp_path / "clips" / name)
    for name in ("nobody.mp4", "one.mp4", "two.mp4"):
        shutil.copy(CLIP, takes / name)
    fake_worker(WORKER.format(motion=str(motion_path)))
    # As it is installed, the package has another name.
    monkeypatch.setitem(sys.modules, "bl_ext", types.ModuleType("bl_ext"))
    monkeypatch.setitem(sys.modules, "bl_ext.user_default", types.ModuleType("bl_ext.user_default"))
    for name in [name for name in sys.modules if name.split(".")[0] == wham_blender.__name__]:
        monkeypatch.setitem(sys.modules, f"bl_ext.user_default.{name}", sys.modules[name])

    def execute(code):
        for folder in ("/clips", "/studio"):
            code = code.replace(f'"{folder}', f'"{tmp_path.as_posix()}{folder}')
        exec(compile(code, DOCUMENT.name, "exec"), {})

    yield execute
    hooks.after_import.clear()


def characters():
    return [ob for ob in bpy.data.objects if ob.type == "ARMATURE" and ob.wham_motion.take]


def test_one_clip(run, tmp_path, capfd):
    first, again, file = examples("One clip")
    run(first)
    assert "dance 40 frames" in capfd.readouterr().out
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "clips/walk.blend"))
    assert len(characters()) == 1
    run(again)
    assert len(characters()) == 3
    run(file)
    assert len(characters()) == 4
    assert {image.name for image in bpy.data.images} >= {"walk.mp4"}


def test_the_example_of_the_readme(run):
    (code,) = code_blocks((DOCUMENT.parents[1] / "README.md").read_text("utf-8"))
    run(code)
    assert len(characters()) == 2


def test_a_folder_of_clips(run, tmp_path, capfd):
    (code,) = examples("A folder of clips")
    run(code)
    said = capfd.readouterr()
    assert "nobody.mp4: Error: No person found in nobody.mp4 (230 frames looked at)." in said.err
    assert re.search(r"one\.mp4: \d+ contacts", said.out)
    assert sorted(path.name for path in (tmp_path / "clips/takes").glob("*.blend")) == ["one.blend", "two.blend"]
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "clips/takes/two.blend"))
    assert len(characters()) == 1


def test_image_sequences(run, tmp_path):
    (code,) = examples("Image sequences")
    (tmp_path / "clips/shot").mkdir()
    for number in (1, 2):
        (tmp_path / f"clips/shot/shot_{number:04}.png").touch()
    run(code)
    assert len(characters()) == 1


def test_contacts(run, capfd):
    (code,) = examples("Contacts")
    run(code)
    said = capfd.readouterr().out
    assert re.search(r"^\d+ L step$", said, flags=re.MULTILINE)
    assert re.search(r"left heel on the floor in frames \[\d+", said)


def test_edits(run):
    (code,) = examples("Edits")
    run(code)
    (armature,) = characters()
    assert armature.wham_motion.frames == 33 - 6 + 1  # the range, less the blend, and the row that closes the cycle
    assert armature.wham_motion.height == pytest.approx(1.82, abs=1e-3)


def test_to_a_game_engine(run, tmp_path):
    (code,) = examples("To a game engine")
    run(code)
    assert (tmp_path / "clips/walk.fbx").read_bytes().startswith(b"Kaydara FBX Binary")


@pytest.fixture
def hero(tmp_path, run):
    """A rig with bone names that no bundled map has, and an exported rig map for it."""
    rig = make.make_rig("mixamo")
    rig.name = "Hero"
    for bone in rig.data.bones:
        bone.name = "HERO " + bone.name.removeprefix("mixamorig:") + " jnt"
    bpy.ops.wham.guess_rig_map()
    rig_map_state.state().name = "Hero"
    bpy.ops.wham.export_rig_map(filepath=str(tmp_path / "studio/hero.toml"))
    rig_map_state.state().bones.clear()
    rig_map_state.state().armature = None
    return rig


def test_a_rig_of_your_own(run, hero, capfd):
    code, _ = examples("A rig of your own")
    run(code)
    assert f"\n{hero.animation_data.action.name}\n" in capfd.readouterr().out
    assert "Hero" in hero.animation_data.action.name


def test_a_map_made_row_by_row(run, hero):
    _, code = examples("A rig of your own")
    run(code)
    saved = rig_map_state.known_map(hero)
    assert saved is not None
    assert [saved.bones[f"{side}_knee"] for side in ("left", "right")] == ["HERO LeftLeg jnt", "HERO RightLeg jnt"]


def test_called_after_every_import(run, hero, tmp_path):
    (code,) = examples("Called after every import")
    bpy.ops.wham.import_rig_map(filepath=str(tmp_path / "studio/hero.toml"))
    run(code)
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.wham.import_motion("EXEC_DEFAULT", True, filepath=str(tmp_path / "clips/dance.npz"))
    assert hero.animation_data.action.name.startswith("dance")
    assert [armature.hide_get() for armature in characters()] == [True]
    bpy.ops.ed.undo()
    assert not characters()
    assert not bpy.data.actions


def test_a_failing_hook_keeps_the_import_and_the_other_hooks(run, tmp_path, capfd):
    called: list[bpy.types.Object] = []

    def fail(context, armatures):
        raise ArithmeticError("the studio's server is asleep")

    hooks.after_import += [fail, lambda context, armatures: called.extend(armatures)]
    assert bpy.ops.wham.import_motion(filepath=str(tmp_path / "clips/dance.npz")) == {"FINISHED"}
    assert called == characters() != []
    assert "but fail, which is called after every import, failed: the studio's server" in capfd.readouterr().out


def test_every_operator_is_listed():
    table = re.split(r"^## All operators\n", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE)[1].split("\n## ")[0]
    listed = set(re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines() if "`" in line)))
    # Of rows and menus, and a part of Draw Box
    of_buttons = {"add_rig_map_bone", "choose_rig_map_bone", "choose_device", "choose_person", "draw_region"}
    assert listed == set(dir(bpy.ops.wham)) - of_buttons
