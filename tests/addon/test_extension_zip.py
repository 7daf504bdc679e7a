"""The zip that `build.py zip` makes installs in Blender as a user's would, and its operator imports a motion."""

import os
import subprocess
import sys

from tests.extension_zip import built_zip

INSTALL = """
import subprocess, sys
import bpy
from pathlib import Path
bpy.ops.extensions.package_install_files(filepath=sys.argv[1], repo="user_default", enable_on_install=True)
name = "bl_ext.user_default.wham_blender"
assert name in bpy.context.preferences.addons, "installed, but not enabled"
assert "wham_blender" not in sys.modules, "this must be the installed copy"
assert bpy.ops.wham.import_motion(filepath=sys.argv[2]) == {"FINISHED"}
assert bpy.ops.wham.explain(sentence="No clip was named. Choose a video file.") == {"FINISHED"}
print("kinds", sorted(o.type for o in bpy.data.collections["dance"].objects))

# A process finds the package under its plain name, wherever the extension lies.
runtime = sys.modules[name + ".addon.worker.python_environment"]
command = runtime.install_command(Path("no-such-python"), "CPU")
print("installer", subprocess.run(command, capture_output=True, encoding="utf-8").stdout)

import addon_utils
addon_utils.disable(name, default_set=True)
"""


def test_installed_extension_imports_a_motion(motion_path, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", INSTALL, built_zip(), motion_path],
        cwd=tmp_path,
        env={
            **os.environ,
            "BLENDER_USER_RESOURCES": str(tmp_path / "user"),
            **dict.fromkeys(("XDG_DATA_HOME", "LOCALAPPDATA"), str(tmp_path / "data")),
        },
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "kinds ['ARMATURE', 'CAMERA', 'MESH']" in run.stdout
    assert "no-such-python does not run" in run.stdout, run.stdout
    assert "Info: Choose a video file: .mp4" in run.stdout  # of docs/troubleshooting.md
    installed = tmp_path / "user" / "extensions" / "user_default" / "wham_blender"
    assert (installed / "bundled_weights" / "manifest.toml").is_file()
