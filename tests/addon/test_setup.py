"""The operators of the preferences by script: install, check, repair, measure, move and remove the worker."""

import json
import shutil
import sys
from pathlib import Path

import bpy
import pytest

from tests.wheels import make_wheel
from wham_blender.addon import settings
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
    lock = [make_wheel(folder / f"{name}-1.0-py3-none-any.whl") for name in ("tiny", "torch")]
    make_wheel(folder / "torch-1.0+cpu-py3-none-any.whl")
    copy = tmp_path / "extension/wham_blender"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.mp4"))
    (copy / "pipeline/requirements.txt").write_text("".join(lock), "utf-8")
    (copy / "pipeline/requirements.in").write_text("tiny==1.0\nlarge==2.0\n", "utf-8")
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
    with pytest.raises(RuntimeError, match="lacks large"):
        wham.repair_worker()
    assert list(python.parents[1].glob("lib/*/site-packages/tiny.py"))
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
