"""The files of Full quality in the preferences: choose, look for, forget and download them, by operators."""

import json
import pickle
import subprocess
import sys
import time
from pathlib import Path

import bpy
import numpy as np
import pytest

from wham_blender import protocol, weights
from wham_blender.addon import settings
from wham_blender.addon.jobs.queue import Work, job_queue
from wham_blender.addon.operators import background
from wham_blender.addon.operators.weights import WHAM_OT_download_weights
from wham_blender.addon.ui import weights_box
from wham_blender.addon.worker import fetch, python_environment
from wham_blender.weights.library import NEEDED, Library


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
    with pytest.raises(RuntimeError, match="no file of Full quality called 'wam': choose one of yolo, vitpose"):
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
    monkeypatch.setattr(weights_box, "lacks_full_packages", lambda: True)
    assert " ".join(drawn(weights_box.draw_quality, "AUTO")).startswith("Full quality needs more packages")
    button = f"wham.install_worker Install Packages for Full Quality ({python_environment.full_download()} MB)"
    assert button in drawn(weights_box.draw_weights)
    monkeypatch.setattr(Library, "missing", lambda self: [each for each in weights.published() if each.role in NEEDED])
    assert button not in drawn(weights_box.draw_weights), "as long as there is no file of Full quality"


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

    def command(self):
        commands.append(WHAM_OT_download_weights.command(self))
        return [sys.executable, "-c", script]

    operator = type("Operator", (), {"role": "smpl", "user": "anna", "password": "secret", "command": command})()
    job = WHAM_OT_download_weights.start(operator, bpy.context)
    while job.result is None:
        job.poll()
    assert json.loads(answer.read_text()) == ["anna", "secret"]
    assert (operator.user, operator.password) == ("", "")
    assert "secret" not in str(commands)
    assert "WHAM_DOWNLOAD_PASSWORD" not in fetch.os.environ
    assert commands == [fetch.download_command(settings.library().folder, "smpl")]


def test_a_downloaded_file_is_added_to_the_library(tmp_path, monkeypatch, capsys, library, body):
    """The download process, without a network: a file that arrives is added to the library, a failure is reported."""

    def fake_download(entry, folder, progress, account, also):
        assert [each.role for each in also] == ["smpl_male", "smpl_female"]
        assert account == ("anna", "secret")
        progress(0, 100)
        progress(100, 100)
        return body

    monkeypatch.setattr(fetch.download, "download", fake_download)
    monkeypatch.setattr(sys, "argv", ["fetch", "download", str(library.folder), "smpl"])
    monkeypatch.setattr(fetch.signal, "signal", lambda *_: None)
    with fetch.account("anna", "secret"):
        assert fetch.main() == 0
        fetch.os.environ |= {"WHAM_DOWNLOAD_USER": "", "WHAM_DOWNLOAD_PASSWORD": ""}
    messages = [protocol.decode(line) for line in capsys.readouterr().out.splitlines()]
    assert messages[-1] == protocol.Done("smpl")
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
    monkeypatch.setattr(fetch, "download_command", lambda *_: [sys.executable, "-c", f"print({message!r})"])
    with pytest.raises(RuntimeError, match="The page is closed"):
        bpy.ops.wham.download_weights(role="yolo")


def test_the_command_starts_the_module(tmp_path):
    command = fetch.download_command(tmp_path, "yolo")
    assert command[-4:] == ["wham_blender.addon.worker.fetch", "download", str(tmp_path), "yolo"]
    assert Path(command[0]) == Path(sys.executable)


def process(recognise, *arguments, seconds=60.0):
    """The command of a process of `fetch` that looks into files by the statements ``recognise``."""
    script = (
        f"import os, sys, signal, time; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from wham_blender import limits\n"
        "from wham_blender.weights import contents\n"
        "from wham_blender.addon.worker import fetch\n"
        f"limits.RECOGNISE_SECONDS, limits.SEARCH_SECONDS = 0.3, {seconds}\n"
        "honest = contents.recognise\n"
        f"def recognise(path):\n    {recognise}\n    return honest(path)\n"
        f"contents.recognise, sys.argv = recognise, {['fetch', *map(str, arguments)]!r}\n"
        "sys.exit(fetch.main())\n"
    )
    return [sys.executable, "-c", script]


def run(command):
    """The messages, standard error and exit code of a process."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return [protocol.decode(line) for line in done.stdout.splitlines()], done.stderr, done.returncode


def test_looking_through_files_has_a_time_limit(library, body, tmp_path):
    (body.parent / "z.pt").write_bytes(b"x")
    slow = "if path.suffix == '.pt': time.sleep(20)"
    messages, _, code = run(process(slow, "choose", library.folder, "yolo", body.parent / "z.pt"))
    assert messages[-1].code == "weights-too-slow"
    assert "z.pt could not be looked through within 0.3 seconds." in messages[-1].text
    assert code == 1
    messages, _, _ = run(process(slow, "search", library.folder, body.parent))
    assert messages[0] == protocol.Progress("looking through files", 0, 2, 0.0)
    assert messages[1] == protocol.Progress("looking through files", 1, 2, 0.5)
    assert "z.pt could not be looked through" in messages[-1].text
    assert library.path("smpl") == body  # which was found before


def test_a_search_has_a_time_limit(library, body):
    messages, _, _ = run(process("time.sleep(0.2)", "search", library.folder, body.parent, seconds=0.1))
    assert messages[-1].code == "weights-too-slow"
    assert messages[-1].text.startswith(f"The search in {body.parent} was ended after")


def test_a_fault_is_a_sentence_and_its_traceback_goes_into_the_log(library, body):
    messages, errors, code = run(process("raise ValueError('no\\nlist')", "choose", library.folder, "smpl", body))
    assert messages == [
        protocol.Failed(
            "The weight files could not be handled: no. The log says where; try again.", "weights-unexpected"
        )
    ]
    assert "Traceback" in errors
    assert code == 1


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_a_file_that_crashes_its_reader_does_not_crash_blender(monkeypatch, library, body):
    command = process("os.kill(os.getpid(), signal.SIGSEGV)", "choose", library.folder, "smpl", body)
    monkeypatch.setattr(fetch, "choose_command", lambda *_: command)
    with pytest.raises(RuntimeError, match="was ended by SIGSEGV"):
        bpy.ops.wham.choose_weights(role="smpl", filepath=str(body))


@pytest.fixture
def window(monkeypatch):
    """As in a window: operators return at once, and are called again by the queue."""
    monkeypatch.setattr(background, "from_window", lambda operator: True)
    yield
    job_queue.stop()


def tick_until(condition):
    """Tick as the timer does until a condition holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        job_queue._on_timer()
        time.sleep(0.01)


def test_blender_does_not_wait_for_a_file_and_can_cancel(monkeypatch, window, library, body):
    command = process("time.sleep(60)", "search", library.folder, body.parent)
    command[-1] = command[-1].replace("RECOGNISE_SECONDS, limits.SEARCH_SECONDS = 0.3", "RECOGNISE_SECONDS, _ = 60.0")
    monkeypatch.setattr(fetch, "search_command", lambda *_: command)
    assert bpy.ops.wham.find_weights(directory=str(body.parent)) == {"FINISHED"}
    assert not bpy.ops.wham.choose_weights.poll()
    tick_until(lambda: job_queue.progress is not None)
    assert job_queue.progress is not None
    assert job_queue.busy  # neither the operator nor a tick has waited for the search to end
    assert job_queue.progress.stage == "looking through files"
    assert bpy.ops.wham.cancel() == {"FINISHED"}
    tick_until(lambda: not job_queue.busy)
    assert job_queue.error == ""
    assert library.path("smpl") is None


def test_the_result_arrives_although_an_import_waits(window, library, body):
    """It was reported as an error, as the operator is disabled while something waits."""
    assert bpy.ops.wham.find_weights(directory=str(body.parent)) == {"FINISHED"}
    tick_until(lambda: job_queue.running is not None)
    work = Work()
    work.start = lambda: pytest.fail("was started")  # type: ignore[method-assign]
    job_queue.waiting.append(work)
    tick_until(lambda: job_queue.running is None)
    assert job_queue.error == ""
    assert library.path("smpl") == body
    assert not bpy.ops.wham.find_weights.poll()
    job_queue.waiting.remove(work)


def test_an_empty_choice_is_refused():
    with pytest.raises(RuntimeError, match="No weight file was named"):
        bpy.ops.wham.choose_weights(role="smpl")
    with pytest.raises(RuntimeError, match="No folder was named"):
        bpy.ops.wham.find_weights()
