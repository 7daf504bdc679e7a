"""The zip that `build.py zip` makes installs in Blender as a user's would, from disk and from a repository."""

import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import build
from tests.extension_zip import VERSION, as_version, built_zip

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


UPDATE = """
import sys
import bpy
import addon_utils
bpy.context.preferences.system.use_online_access = True
repository = bpy.context.preferences.extensions.repos.new(
    name="Team", module="team", remote_url=sys.argv[1] + "index.json"
)
number = list(bpy.context.preferences.extensions.repos).index(repository)
bpy.ops.extensions.repo_sync(repo_index=number)
bpy.ops.extensions.package_install(repo_index=number, pkg_id="wham_blender")
name = "bl_ext.team.wham_blender"
assert name in bpy.context.preferences.addons, "installed, but not enabled"
print("first", sys.modules[name].__file__, addon_utils.module_bl_info(sys.modules[name])["version"], flush=True)
sys.stdin.readline()  # until the test has published the newer version
bpy.ops.extensions.repo_sync_all()
bpy.ops.extensions.package_upgrade_all()
assert name in bpy.context.preferences.addons, "updated, but not enabled"
print("then", addon_utils.module_bl_info(sys.modules[name])["version"])
assert bpy.ops.wham.import_motion(filepath=sys.argv[2]) == {"FINISHED"}
addon_utils.disable(name, default_set=True)
"""


def environ(folder):
    """The variables of a user who has nothing yet."""
    return {
        **os.environ,
        "BLENDER_USER_RESOURCES": str(folder / "user"),
        **dict.fromkeys(("XDG_DATA_HOME", "LOCALAPPDATA"), str(folder / "data")),
    }


def test_installed_extension_imports_a_motion(motion_path, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", INSTALL, built_zip(), motion_path],
        cwd=tmp_path, env=environ(tmp_path), capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "kinds ['ARMATURE', 'CAMERA', 'MESH']" in run.stdout
    assert "no-such-python does not run" in run.stdout, run.stdout
    assert "Info: Choose a video file: .mp4" in run.stdout  # of docs/troubleshooting.md
    installed = tmp_path / "user" / "extensions" / "user_default" / "wham_blender"
    assert (installed / "bundled_weights" / "manifest.toml").is_file()


def test_a_repository_installs_and_updates_the_extension(motion_path, tmp_path):
    served = tmp_path / "site"
    newest = built_zip()
    build.publish(as_version(newest, "0.0.1", tmp_path), served)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with subprocess.Popen(
        [sys.executable, "-c", UPDATE, f"http://127.0.0.1:{server.server_port}/", motion_path],
        cwd=tmp_path, env=environ(tmp_path), encoding="utf-8",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as blender:  # fmt: skip
        assert blender.stdout is not None
        said = line = ""
        while not line.startswith("first") and (line := blender.stdout.readline()):
            said += line
        build.publish(newest, served)
        said += blender.communicate("go on\n")[0]
    server.shutdown()
    server.server_close()
    assert blender.returncode == 0, said
    assert "(0, 0, 1)" in line
    assert f"then {tuple(map(int, VERSION.split('.')))}" in said
    (listed,) = json.loads((served / "index.json").read_text("utf-8"))["data"]
    assert (listed["id"], listed["version"]) == ("wham_blender", VERSION)
    assert [path.name for path in (served / "earlier").iterdir()] == ["wham_blender-0.0.1.zip"]
