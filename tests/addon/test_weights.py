"""The files of full quality in the preferences: choose, look for, forget and download them, by operators."""

import json
import pickle
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

from wham_blender import protocol, weights
from wham_blender.addon import settings
from wham_blender.addon.operators.weights import WHAM_OT_download_weights
from wham_blender.addon.ui import weights_box
from wham_blender.addon.worker import fetch
from wham_blender.weights.library import Library


@pytest.fixture(autouse=True)
def library(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "data"))
    return settings.library()


@pytest.fixture
def body(tmp_path):
    shapes = {"v_template": (6, 3), "shapedirs": (6, 3, 10), "posedirs": (6, 3, 9), "J_regressor": (24, 6)}
    shapes |= {"weights": (6, 24), "kintree_table": (2, 24), "f": (5, 3)}
    path = tmp_path / "brought" / "from_a_friend.pkl"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps({name: np.zeros(shape) for name, shape in shapes.items()}, protocol=2))
    return path


class Layout:
    """Stands in for Blender's layout and keeps what is drawn."""

    def __init__(self, texts):
        self.texts = texts

    def __getattr__(self, name):
        if name in {"row", "column", "box"}:
            return lambda **_: Layout(self.texts)
        raise AttributeError(name)

    def label(self, text="", icon=""):
        self.texts.append(text)

    def separator(self, **_):
        pass

    def operator(self, name, text="", icon=""):
        self.texts.append(f"{name} {text}".strip())
        return type("Properties", (), {})()


def drawn(draw, *arguments):
    texts: list[str] = []
    draw(Layout(texts), *arguments)
    return texts


def test_a_chosen_file_is_listed(library, body):
    before = drawn(weights_box.draw_weights)
    assert {"wham.sign_in_to_download", "wham.download_weights Download (2.7 GB)"} <= set(before)
    assert bpy.ops.wham.choose_weights(role="smpl", filepath=str(body)) == {"FINISHED"}
    assert library.path("smpl") == body
    after = drawn(weights_box.draw_weights)
    assert str(body) in after
    assert after.count("wham.sign_in_to_download") == before.count("wham.sign_in_to_download") - 1 == 2
    assert bpy.ops.wham.forget_weights(role="smpl") == {"FINISHED"}
    assert body.is_file()
    assert drawn(weights_box.draw_weights) == before


def test_a_wrong_file_is_refused_with_what_it_seems_to_be(body):
    with pytest.raises(RuntimeError, match=r"is not WHAM: it seems to be SMPL\. Choose wham_vit"):
        bpy.ops.wham.choose_weights(role="wham", filepath=str(body))
    with pytest.raises(RuntimeError, match="no file of full quality called 'wam': choose one of yolo, vitpose"):
        bpy.ops.wham.choose_weights(role="wam", filepath=str(body))


def test_a_folder_is_searched(library, body):
    assert bpy.ops.wham.find_weights(directory=str(body.parents[1])) == {"FINISHED"}
    assert library.path("smpl") == body
    with pytest.raises(RuntimeError, match="No file that is still missing"):
        bpy.ops.wham.find_weights(directory=str(body.parents[1]))


def test_the_panel_names_what_is_missing(monkeypatch):
    shown = " ".join(drawn(weights_box.draw_quality, "AUTO"))
    assert shown == "Missing for Full quality: YOLO, ViTPose-H, HMR2.0, WHAM"
    assert drawn(weights_box.draw_quality, "DRAFT") == []
    there = [entry for entry in weights.published() if entry.role in ("vitpose", "wham")]
    monkeypatch.setattr(Library, "missing", lambda self: there)
    shown = " ".join(drawn(weights_box.draw_quality, "AUTO"))
    assert shown == "Files of Full quality: YOLO, HMR2.0 Missing for Full quality: ViTPose-H, WHAM"
    assert drawn(weights_box.draw_gender, "FEMALE", "DRAFT") == drawn(weights_box.draw_gender, "NEUTRAL", "FULL") == []
    shown = " ".join(drawn(weights_box.draw_gender, "FEMALE", "FULL"))
    assert shown == "The file of SMPL, female is missing: see the preferences"
    monkeypatch.setattr(Library, "missing", lambda self: [])
    assert " ".join(drawn(weights_box.draw_quality, "AUTO")) == "Full quality if an NVIDIA graphics card is found"


def test_nothing_is_downloaded_without_consent(monkeypatch):
    system = bpy.context.preferences.system
    for allowed in (False, True):
        monkeypatch.setattr(system, "use_online_access", allowed)
        for operator in (bpy.ops.wham.download_weights, bpy.ops.wham.sign_in_to_download):
            assert operator.poll() == allowed


def test_the_password_reaches_the_download_and_is_not_kept(tmp_path, monkeypatch):
    """The process gets it, its command line does not, and neither the operator nor this process keeps it."""
    answer = tmp_path / "answer.json"
    script = (
        "import json, os, sys; json.dump([os.environ['WHAM_DOWNLOAD_USER'], os.environ['WHAM_DOWNLOAD_PASSWORD']],"
        f"open({str(answer)!r}, 'w'))"
    )
    commands = []

    def command(*asked):
        commands.append(asked)
        return [sys.executable, "-c", script]

    monkeypatch.setattr(fetch, "command", command)
    operator = type("Operator", (), {"role": "smpl", "user": "anna", "password": "secret"})()
    job = WHAM_OT_download_weights.start(operator, bpy.context)
    while job.result is None:
        job.poll()
    assert json.loads(answer.read_text()) == ["anna", "secret"]
    assert (operator.user, operator.password) == ("", "")
    assert "secret" not in str(commands)
    assert "WHAM_DOWNLOAD_PASSWORD" not in fetch.os.environ
    assert commands == [("smpl", settings.library().folder)]


def test_a_downloaded_file_is_added_to_the_library(tmp_path, monkeypatch, capsys, library, body):
    """The download process, without a network: a file that arrives is added to the library, a failure is reported."""

    def fake_download(entry, folder, progress, account, also):
        assert [each.role for each in also] == ["smpl_male", "smpl_female"]
        assert account == ("anna", "secret")
        progress(0, 100)
        progress(100, 100)
        return body

    monkeypatch.setattr(fetch.download, "download", fake_download)
    monkeypatch.setattr(sys, "argv", ["fetch", "smpl", str(library.folder)])
    monkeypatch.setattr(fetch.signal, "signal", lambda *_: None)
    with fetch.account("anna", "secret"):
        assert fetch.main() == 0
        fetch.os.environ |= {"WHAM_DOWNLOAD_USER": "", "WHAM_DOWNLOAD_PASSWORD": ""}
    messages = [protocol.decode(line) for line in capsys.readouterr().out.splitlines()]
    assert messages[-1] == protocol.Done(str(body))
    assert messages[-2] == protocol.Progress("download, MB", 0, 0, 1.0, 0.0)
    assert library.path("smpl") == body

    def fail(*_, **__):
        raise weights.WeightsError("The page is closed. Try tomorrow.")

    monkeypatch.setattr(fetch.download, "download", fail)
    assert fetch.main() == 1
    assert "Try tomorrow." in capsys.readouterr().out


def test_a_script_waits_for_a_download(monkeypatch, tmp_path):
    monkeypatch.setattr(bpy.context.preferences.system, "use_online_access", True)
    message = protocol.encode(protocol.Failed("The page is closed. Try tomorrow."))
    monkeypatch.setattr(fetch, "command", lambda *_: [sys.executable, "-c", f"print({message!r})"])
    with pytest.raises(RuntimeError, match="The page is closed"):
        bpy.ops.wham.download_weights(role="yolo")


def test_the_command_starts_the_module(tmp_path):
    assert fetch.command("yolo", tmp_path)[-3:] == ["wham_blender.addon.worker.fetch", "yolo", str(tmp_path)]
    assert Path(fetch.command("yolo", tmp_path)[0]) == Path(sys.executable)
