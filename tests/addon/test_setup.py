"""The operators of the preferences by script: install, check, repair, measure, move and remove the worker."""

import json
import shutil
import sys
import time
from pathlib import Path

import bpy
import pytest

from tests.addon.conftest import CLIP
from tests.wheels import make_wheel
from wham_blender.addon import settings
from wham_blender.addon.jobs.queue import job_queue
from wham_blender.addon.operators import background
from wham_blender.addon.worker import location, process, python_environment

PACKAGE = Path(python_environment.__file__).parents[2]


@pytest.fixture
def addon_preferences(tmp_path, monkeypatch):
    """The preferences of a user who has installed nothing and has not allowed online access."""
    monkeypatch.delenv("WHAM_WORKER_PYTHON", raising=False)
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    values = bpy.context.preferences.addons["wham_blender"].preferences
    options = ("worker_python", "base_python", "torch_build", "wheels_folder", "storage_state")
    yield values
    for name in options:
        values.property_unset(name)


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder of packages, and a copy of the add-on that requires these and one more that is missing."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    lock = [make_wheel(folder / f"{name}-1.0-py3-none-any.whl") for name in ("tiny", "torch", "extra")]
    make_wheel(folder / "torch-1.0+cpu-py3-none-any.whl")
    copy = tmp_path / "extension/wham_blender"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.mp4"))
    (copy / "pipeline/requirements.txt").write_text("".join(lock), "utf-8")
    (copy / "pipeline/requirements.in").write_text("tiny==1.0\nlarge==2.0\n", "utf-8")
    (copy / "pipeline/full_packages.txt").write_text("extra\n", "utf-8")
    (copy / "pipeline/download_sizes.json").write_text("{}", "utf-8")
    monkeypatch.setattr(process, "_PACKAGE", copy)
    monkeypatch.setattr(python_environment, "PIPELINE", copy / "pipeline")
    python_environment.fingerprint.cache_clear()
    yield folder
    python_environment.fingerprint.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="the packages are those of Linux")
def test_install_repair_check_move_remove(addon_preferences, wheels, tmp_path):
    wham = bpy.ops.wham
    addon_preferences.wheels_folder, addon_preferences.torch_build = str(wheels), "CPU"
    with pytest.raises(RuntimeError, match=r"lacks large\. Click Repair Worker"):  # the self-test's report
        wham.install_worker()
    python = python_environment.find()
    assert python.is_file()
    report = json.loads(python_environment.self_test_report().read_text("utf-8"))
    assert ["tiny", "1.0"] in report["details"]
    assert python_environment.state() == python_environment.State(False, report["sentence"], report["text"])
    assert str(Path.home()) not in report["text"] or Path.home() == Path("/")

    next(python.parents[1].glob("lib/*/site-packages/tiny.py")).unlink()
    assert settings.lacks_full_packages()
    assert not list(python.parents[1].glob("lib/*/site-packages/extra.py"))
    with pytest.raises(RuntimeError, match="lacks large"):
        wham.repair_worker(full=True)
    assert list(python.parents[1].glob("lib/*/site-packages/tiny.py"))
    assert list(python.parents[1].glob("lib/*/site-packages/extra.py"))
    assert not settings.lacks_full_packages()
    with pytest.raises(RuntimeError, match="lacks large"):
        wham.check_worker()
    assert wham.copy_worker_report() == {"FINISHED"}

    wham.measure_storage()
    assert "worker 0.0" in addon_preferences.storage_state
    with pytest.raises(RuntimeError, match=r"lies in .* already"):
        wham.move_worker(directory=str(location.default_folder()))
    wham.move_worker(directory=str(tmp_path / "big"))
    assert python_environment.find() == tmp_path / "big/wham_blender/worker/bin/python"
    assert wham.remove_worker() == {"FINISHED"}
    assert not python_environment.worker_folder().exists()


def test_operators_that_cannot_run_give_the_reason(addon_preferences, tmp_path):
    wham = bpy.ops.wham
    with pytest.raises(RuntimeError, match="No worker is installed in"):
        wham.remove_worker()
    with pytest.raises(RuntimeError, match="poll"):
        wham.copy_worker_report()
    for installs in (wham.install_worker, wham.repair_worker):
        assert installs.poll() == bpy.app.online_access
    with pytest.raises(RuntimeError, match="not installed yet"):
        wham.check_worker()
    with pytest.raises(RuntimeError, match="not installed yet"):
        wham.import_video(filepath=str(CLIP), person="ALL")
    chosen = bpy.context.scene.wham
    assert (chosen.filepath, chosen.person) == (str(CLIP), "ALL"), "for when the worker is installed"
    with pytest.raises(RuntimeError, match="No folder to move to"):
        wham.move_worker()
    addon_preferences.wheels_folder, addon_preferences.base_python = str(tmp_path), str(tmp_path / "gone")
    with pytest.raises(RuntimeError, match=r"no Python at .*gone"):
        wham.install_worker()
    addon_preferences.worker_python = str(tmp_path / "gone")
    with pytest.raises(RuntimeError, match=r"no Python at .*gone"):
        wham.check_worker()


def test_an_existing_python_from_the_preferences_is_usable(addon_preferences):
    addon_preferences.worker_python = sys.executable
    assert settings.worker_python() == Path(sys.executable)
    assert python_environment.state(settings.worker_path()).usable


SLOW = "#!/bin/sh\nsleep 60\n"
NO_PYTHON = "#!/bin/sh\necho hello\n"


def stand_in(folder, text):
    python = folder / "python"
    python.write_text(text, "utf-8")
    python.chmod(0o755)
    return str(python)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a POSIX script")
def test_check_worker_does_not_keep_blender_waiting_and_can_be_cancelled(addon_preferences, tmp_path, monkeypatch):
    """Blender's main thread used to ask the worker's Python for its version: up to a minute."""
    monkeypatch.setattr(python_environment, "probe", lambda python: pytest.fail("in Blender's main thread"))
    monkeypatch.setattr(background, "from_window", lambda operator: True)
    addon_preferences.worker_python = stand_in(tmp_path, SLOW)
    try:
        assert bpy.ops.wham.check_worker() == {"FINISHED"}
        while job_queue.job is None:
            job_queue._on_timer()
        for _ in range(50):
            job_queue._on_timer()
            time.sleep(0.01)
        assert job_queue.busy  # no tick has waited for the worker to end
        assert bpy.ops.wham.cancel() == {"FINISHED"}
        deadline = time.monotonic() + 10
        while job_queue.busy:
            assert time.monotonic() < deadline
            job_queue._on_timer()
    finally:
        job_queue.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a POSIX script")
def test_check_worker_says_that_a_program_is_no_python(addon_preferences, tmp_path):
    addon_preferences.worker_python = stand_in(tmp_path, NO_PYTHON)
    with pytest.raises(
        RuntimeError, match=r"python does not run \(it does not answer like a Python\)\. Choose another"
    ):
        bpy.ops.wham.check_worker()
    assert job_queue.error_code == "python-unsuitable"
