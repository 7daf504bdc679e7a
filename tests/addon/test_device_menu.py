"""The option Device: its menu has the cards that the worker found, and a card that is gone is kept and named."""

import json
import subprocess
import sys
from pathlib import Path

import bpy
import pytest

from tests.addon.test_registration import Layout
from wham_blender.addon.ui import device_menu, presets
from wham_blender.addon.worker import python_environment

CARDS = [
    {"device": "cuda:0", "name": "GT 730", "fault": "it has compute capability 3.5, and PyTorch was built for 7.5"},
    {"device": "cuda:1", "name": "RTX 4090", "fault": ""},
    {"device": "cuda:2", "name": "RTX 4090", "fault": ""},
]


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """A worker whose self-test found two cards that work, and one that does not."""
    monkeypatch.setenv("WHAM_WORKER_PYTHON", sys.executable)
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "data"))
    write(CARDS)


def write(cards, python=sys.executable):
    path = python_environment.self_test_report()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"python": python, "whole": True, "sentence": "Whole.", "cards": cards}), "utf-8")


def shown(source):
    """The text on the menu of an option, and the labels and devices in the menu."""
    drawn: list[tuple] = []
    device_menu.draw_device(Layout(drawn), source)
    ((_, _, text),) = [call for call in drawn if call[0] == "menu"]
    return text, device_menu.choices()


def test_cards_are_listed_by_name_without_looking_for_them(checked, monkeypatch):
    def refuse(*_, **__):
        pytest.fail("a process was started in Blender's main thread")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    settings = bpy.context.scene.wham
    text, choices = shown(settings)
    assert text == "Auto"
    assert list(choices.values()) == ["Auto", "CPU", "NVIDIA GPU", "RTX 4090 (cuda:1)", "RTX 4090 (cuda:2)"]
    for device, label in choices.items():
        assert bpy.ops.wham.choose_device(device=device) == {"FINISHED"}
        assert settings.device == device
        assert shown(settings)[0] == label
    drawn: list[tuple] = []
    device_menu.WHAM_MT_device.draw(type("Menu", (), {"layout": Layout(drawn)})(), bpy.context)
    assert [call[-1] for call in drawn] == list(choices.values())


def test_the_menu_sets_what_it_was_drawn_for(checked):
    """Beside the file browser that is the operator, and not the panel's settings."""
    other = bpy.data.scenes.new("other").wham
    with bpy.context.temp_override(wham_options=other):
        bpy.ops.wham.choose_device(device="CPU")
    assert (other.device, bpy.context.scene.wham.device) == ("CPU", "AUTO")


@pytest.mark.parametrize(
    ("device", "label"),
    [
        ("cpu", "CPU"),
        ("", "Auto"),
        ("CUDA:1", "RTX 4090 (cuda:1)"),
        ("cuda:3 GTX 1080", "cuda:3 GTX 1080 (not found)"),
        ("cuda:0 GT 730", "cuda:0 GT 730 (not usable)"),
        ("nonsense", "nonsense (not found)"),
    ],
)
def test_what_a_script_types_is_shown(checked, device, label):
    settings = bpy.context.scene.wham
    settings.device = device
    assert shown(settings)[0] == label
    assert settings.device == device


@pytest.mark.parametrize("state", ["not checked", "another Python", "damaged", "no worker"])
def test_without_a_check_no_card_is_listed(checked, monkeypatch, tmp_path, state):
    if state == "not checked":
        python_environment.self_test_report().unlink()
    elif state == "another Python":
        write(CARDS, "/another/python")
    elif state == "damaged":
        write([{"device": 3, "name": "x"}])
    else:
        monkeypatch.setenv("WHAM_WORKER_PYTHON", str(tmp_path / "gone"))
    settings = bpy.context.scene.wham
    settings.device = "cuda:1 RTX 4090"
    text, choices = shown(settings)
    assert text == "cuda:1 RTX 4090 (not found)"
    assert list(choices.values()) == ["Auto", "CPU", "NVIDIA GPU"]


def test_a_card_that_is_gone_stays_in_files_and_presets(checked, tmp_path, monkeypatch):
    monkeypatch.setenv("BLENDER_USER_RESOURCES", str(tmp_path))
    bpy.context.scene.wham.device = "cuda:2 RTX 4090"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert bpy.ops.wham.add_import_preset(name="Second card") == {"FINISHED"}
    write(CARDS[:2])
    bpy.context.scene.wham.device = "AUTO"
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    settings = bpy.context.scene.wham
    assert settings.device == "cuda:2 RTX 4090"
    assert shown(settings)[0] == "cuda:2 RTX 4090 (not found)"
    settings.device = "AUTO"
    (preset,) = tmp_path.rglob("presets/operator/wham.import_video/*.py")
    bpy.ops.script.execute_preset(filepath=str(preset), menu_idname=presets.WHAM_PT_import_presets.__name__)
    assert settings.device == "cuda:2 RTX 4090"


def test_the_worker_gets_the_card_with_its_name(fake_worker, clip):
    fake_worker("say(protocol.Failed(repr(arguments[arguments.index('--device') + 1])))")
    with pytest.raises(RuntimeError, match="'cuda:1 RTX 4090'"):
        bpy.ops.wham.import_video(filepath=str(clip), device="cuda:1 RTX 4090")
    with pytest.raises(RuntimeError, match="'auto'"):
        bpy.ops.wham.import_video(filepath=str(clip), device="")


def test_a_scene_of_an_earlier_version_opens(tmp_path):
    """Its device was stored as a number."""
    settings = bpy.context.scene.wham
    holder = settings.bl_system_properties_get(do_create=True) if bpy.app.version >= (5, 0, 0) else settings
    holder["device"] = 1
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "old.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "old.blend"))
    assert bpy.context.scene.wham.device == "AUTO"
    assert Path(bpy.data.filepath).name == "old.blend"
