"""The worker's own Python: found, made, checked and removed, with a package list small enough for a test."""

import sys
import time
import zipfile
from pathlib import Path

import bpy
import pytest

from wham_blender.addon import runtime
from wham_blender.addon.job import Job
from wham_blender.addon.operators.setup import WHAM_OT_install_worker
from wham_blender.protocol import Message, Progress


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.delenv("WHAM_WORKER_PYTHON", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    return tmp_path / "wham_blender"


def packages(monkeypatch, tmp_path, text):
    """A copy of the package's pipeline folder with another list of requirements."""
    (tmp_path / "requirements.txt").write_text(text, "utf-8")
    (tmp_path / "constraints.txt").write_text("", "utf-8")
    monkeypatch.setattr(runtime, "_PIPELINE", tmp_path)


def test_environment_then_preference_then_own(data, tmp_path, monkeypatch):
    with pytest.raises(runtime.RuntimeProblem, match="not installed yet"):
        runtime.find()
    assert runtime.find(sys.executable) == Path(sys.executable)
    monkeypatch.setenv("WHAM_WORKER_PYTHON", str(tmp_path / "gone"))
    with pytest.raises(runtime.RuntimeProblem, match=r"no Python at .*gone"):
        runtime.find(sys.executable)


def test_made_checked_and_removed(data, tmp_path, monkeypatch, capfd):
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    make_wheel(wheel)
    packages(monkeypatch, tmp_path, f"tiny @ {wheel.as_uri()}\n")
    python = runtime.make(runtime.own_folder())
    assert '"fraction": 0.9' in capfd.readouterr().out
    assert runtime.find() == python
    assert python.is_relative_to(data)
    assert runtime.check(python).endswith("with all 1 packages")
    packages(monkeypatch, tmp_path, "tiny==1.0\nmissing-package==2.0\n")
    with pytest.raises(runtime.RuntimeProblem, match="lacks missing-package"):
        runtime.check(python)
    with pytest.raises(runtime.RuntimeProblem, match="of an older version"):
        runtime.find()
    runtime.remove()
    assert not runtime.own_folder().exists()


def test_what_cannot_be_deleted_is_told_and_is_no_worker_any_more(data, monkeypatch):
    folder = runtime.own_folder()
    (folder / "bin").mkdir(parents=True)
    (folder / "complete").touch()

    def refuse(path):
        raise PermissionError(13, "used by another process", str(path))

    monkeypatch.setattr(runtime.shutil, "rmtree", refuse)
    with pytest.raises(RuntimeError, match=r"cannot be deleted .*used by another process"):
        bpy.ops.wham.remove_worker()
    assert not (folder / "complete").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for a Python is a POSIX script")
@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("ERROR: No matching distribution found for torch==2.14.1", "no worker packages for this computer"),
        ("WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError()': /simple/torch/\n"
         "ERROR: No matching distribution found for torch==2.14.1", "Check the internet connection"),
        ("ERROR: No space left on device", "space left"),
    ],
)  # fmt: skip
def test_pips_failures_get_their_own_sentences(tmp_path, said, sentence):
    (tmp_path / "said").write_text(said, "utf-8")
    pip = tmp_path / "python"
    pip.write_text(f'#!/bin/sh\ncat "{tmp_path / "said"}"\nexit 1\n', "utf-8")
    pip.chmod(0o755)
    with pytest.raises(runtime.RuntimeProblem, match=sentence):
        list(runtime._pip(pip))


def make_wheel(path):
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"tiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


def test_half_made_is_not_found(data, tmp_path, monkeypatch):
    packages(monkeypatch, tmp_path, f"tiny @ {(tmp_path / 'nowhere.whl').as_uri()}\n")
    with pytest.raises(runtime.RuntimeProblem, match="could not be installed"):
        runtime.make(runtime.own_folder())
    assert runtime.own_folder().exists()
    with pytest.raises(runtime.RuntimeProblem, match="not installed yet"):
        runtime.find()


def test_making_runs_as_a_job_of_its_own(data):
    """The real list, as far as its first message: what follows is pip's download."""
    job = Job(runtime.make_command(), data / "install.log")
    messages: list[Message] = []
    deadline = time.monotonic() + 30
    while not messages and time.monotonic() < deadline:
        messages += job.poll()
        time.sleep(0.01)
    job.stop()
    assert messages[0] == Progress("prepare", 0, 1, 0.0), job.log.read_text("utf-8")


def test_a_python_that_does_not_run_is_a_sentence(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("not a program", "utf-8")
    with pytest.raises(runtime.RuntimeProblem, match=r"does not run \((Exec format error|Permission denied|OSError)\)"):
        runtime.check(broken)


def test_what_was_just_installed_is_checked(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WHAM_WORKER_PYTHON", str(tmp_path / "another"))
    reports: list[tuple] = []
    operator = type("Operator", (), {"report": lambda self, *said: reports.append(said)})()
    monkeypatch.setattr(runtime, "check", lambda python: f"whole at {python}")
    assert WHAM_OT_install_worker.finish(operator, bpy.context, sys.executable) == {"FINISHED"}
    assert reports == [({"INFO"}, f"whole at {Path(sys.executable)}")]
    monkeypatch.undo()
    assert WHAM_OT_install_worker.finish(operator, bpy.context, str(tmp_path / "none")) == {"CANCELLED"}
    assert "does not run" in reports[-1][1]


def test_buttons(data, monkeypatch):
    chosen = bpy.context.preferences.addons["wham_blender"].preferences
    with pytest.raises(RuntimeError, match="not installed yet"):
        bpy.ops.wham.check_worker()
    assert "not installed yet" in chosen.worker_state
    monkeypatch.setattr(runtime, "check", lambda python: f"whole at {python}")
    chosen.worker_python = sys.executable
    bpy.ops.wham.check_worker()
    assert chosen.worker_state == f"whole at {sys.executable}"
    chosen.worker_python = ""
    assert bpy.ops.wham.remove_worker() == {"FINISHED"}
    assert bpy.ops.wham.install_worker.poll() == bpy.app.online_access
