"""Submit to Farm: what a farm gets, by a Manager on this machine and by files; and what comes back into Jobs."""

import json
import re
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest

from tests.addon.test_registration import Layout
from wham_blender import farm_status, protocol
from wham_blender.addon.jobs import farm, import_job, job_record
from wham_blender.addon.jobs.farm import farm_watch
from wham_blender.addon.jobs.job_record import Status
from wham_blender.addon.jobs.queue import job_queue
from wham_blender.addon.panels import farm as farm_panel
from wham_blender.addon.panels import jobs as job_panel
from wham_blender.addon.worker import submit as submit_process
from wham_blender.corrections import NO_CORRECTIONS
from wham_blender.farm_status import FarmStatus

PEOPLE = protocol.People([protocol.FoundPerson(1, 1, 40, 40, 0.5, "person-1.png")])
OPTIONS = {"person": "1", "quality": "FAST", "clip_start": 3, "clip_end": 30, "camera": "STATIC"}


@pytest.fixture(autouse=True)
def preferences(tmp_path, monkeypatch):
    """A farm with a shared folder; no worker, and no program of a farm, on this computer."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    monkeypatch.delenv("WHAM_WORKER_PYTHON", raising=False)
    monkeypatch.setattr(bpy.context.preferences.system, "use_online_access", True)
    values = bpy.context.preferences.addons["wham_blender"].preferences
    given = {"farm_folder": str(tmp_path / "shared"), "farm_python": "/opt/py", "farm_addon": "/opt/wham_blender/"}
    for name, value in given.items():
        setattr(values, name, value)
    yield values
    for name in ("farm", "flamenco_url", *given):
        values.property_unset(name)
    job_queue.stop()
    import_job.jobs.all = []


@pytest.fixture
def manager(preferences):
    """A stand-in for Flamenco's Manager: ``asked`` are paths and contents, ``answers`` status and text by path."""

    asked: list[tuple[str, object]] = []
    answers = {
        "/api/v3/jobs/type/video-as-motion": (200, '{"name": "video-as-motion", "settings": [], "etag": "abc"}'),
        "/api/v3/jobs": (200, '{"id": "1234", "status": "queued"}'),
    }

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self._answer(None)

        def do_POST(self):
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, content):
            asked.append((self.path, content))
            status, text = answers[self.path]
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(text.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    preferences.farm, preferences.flamenco_url = "FLAMENCO", f"http://127.0.0.1:{server.server_port}/"
    yield SimpleNamespace(asked=asked, answers=answers)
    server.shutdown()
    server.server_close()


def submit(clip, **options):
    assert bpy.ops.wham.submit_to_farm(filepath=str(clip), **OPTIONS | options) == {"FINISHED"}
    return import_job.jobs.all[0]


def failure(clip):
    with pytest.raises(RuntimeError) as caught:
        bpy.ops.wham.submit_to_farm(filepath=str(clip), **OPTIONS)
    return str(caught.value).removeprefix("Error: ").strip()


def said(record, *messages):
    """What the farm's worker says, and a look at it."""
    status = FarmStatus()
    for message in messages:
        status.add(message)
    status.save(Path(record.farm))
    farm_watch.look()


def test_flamenco_gets_the_job_with_its_type_s_etag(manager, clip):
    record = submit(clip)
    assert [path for path, _ in manager.asked] == list(manager.answers)
    job = manager.asked[1][1]
    settings = job.pop("settings")
    assert job == {
        "name": "some clip.mp4", "type": "video-as-motion", "type_etag": "abc", "priority": 50,
        "submitter_platform": {"win32": "windows"}.get(sys.platform, sys.platform),
    }  # fmt: skip
    assert "--camera static" in settings.pop("options")
    assert settings == {
        "clip": str(clip), "output_folder": record.farm, "person": "1", "quality": "fast", "start": 3,
        "end": 30, "python": "/opt/py", "addon_folder": "/opt/wham_blender",
    }  # fmt: skip
    script = (submit_process.FARM_FILES / "video_as_motion.js").read_text("utf-8")
    assert set(re.findall(r'key: "(\w+)"', script)) == {*settings, "options"}
    assert record.status is Status.ON_FARM
    assert not job_record.is_locked(record.folder)


@pytest.mark.parametrize(
    ("path", "answer", "sentence"),
    [
        ("/api/v3/jobs/type/video-as-motion", (404, "{}"), r"does not know the job type video-as-motion\. Copy .*js"),
        ("/api/v3/jobs", (412, '{"code": 412, "message": "type_etag differs"}'), r"job \(412, type_etag differs\)"),
        ("/api/v3/jobs", (307, ""), r"did not take the job \(307\)"),
        ("/api/v3/jobs", (200, "[" * 99999), "There is no Flamenco Manager at"),
        ("/api/v3/jobs", (200, " " * (1 << 21)), "There is no Flamenco Manager at .* more than"),
    ],
)
def test_a_manager_that_refuses_is_a_sentence(manager, preferences, tmp_path, path, answer, sentence):
    manager.answers[path] = answer
    (tmp_path / "job.json").write_text("{}", "utf-8")
    with pytest.raises(submit_process.SubmitError, match=sentence):
        submit_process.submit_flamenco(preferences.flamenco_url.rstrip("/"), str(tmp_path / "job.json"))


def test_nobody_at_the_address_and_blender_offline(manager, preferences, clip, monkeypatch):
    preferences.flamenco_url = "http://127.0.0.1:9"
    sentence = failure(clip)
    assert sentence.startswith("There is no Flamenco Manager at http://127.0.0.1:9: ")
    (record,) = import_job.jobs.all
    assert (record.status, record.error, record.error_code) == (Status.FAILED, sentence, "farm-unreachable")
    with pytest.raises(submit_process.SubmitError, match="no address of a Flamenco Manager"):
        submit_process.submit_flamenco("file:///etc", f"{record.farm}/flamenco_job.json")
    monkeypatch.setattr(bpy.context.preferences.system, "use_online_access", False)
    assert failure(clip).startswith("Blender is offline")
    assert manager.asked == []


def test_a_bundle_for_deadline_cloud_and_how_to_submit_it(clip):
    record = submit(clip)
    bundle = Path(record.farm) / "bundle"
    assert record.warnings[0].endswith(f"Run: deadline bundle submit {bundle}")
    template = json.loads((bundle / "template.json").read_text("utf-8"))
    values = {each["name"]: each["value"] for each in _read(bundle / "parameter_values.json")["parameterValues"]}
    assert set(values) == {each["name"] for each in template["parameterDefinitions"]}
    assert (values["Clip"], values["OutputFolder"], values["End"]) == (str(clip), record.farm, 30)
    assert _read(bundle / "asset_references.json")["assetReferences"] == {
        "inputs": {"filenames": [str(clip)], "directories": []},
        "outputs": {"directories": [record.farm]},
        "referencedPaths": [],
    }


def _read(path):
    return json.loads(path.read_text("utf-8"))


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for the program is a POSIX script")
def test_deadline_cloud_s_program_submits_the_bundle(clip, tmp_path):
    program = tmp_path / "programs" / "deadline"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\nexit $(/bin/cat {tmp_path}/code)\n')
    program.chmod(0o755)
    (tmp_path / "code").write_text("0")
    record = submit(clip)
    assert (tmp_path / "calls").read_text() == f"bundle submit --yes {record.farm}/bundle\n"
    assert (record.status, record.warnings) == (Status.ON_FARM, [])
    import_job.jobs.forget(record)
    shutil.rmtree(record.folder)
    (tmp_path / "code").write_text("3")
    shutil.rmtree(tmp_path / "shared")
    assert failure(clip).startswith("Deadline Cloud did not take the job (exit code 3)")


def test_a_result_comes_back_and_is_imported(clip, motion_path):
    record = submit(clip)
    farm_watch.look()
    assert record.status is Status.ON_FARM  # nothing there yet
    drawn: list[tuple] = []
    assert len(record.warnings) == 1  # how to submit it
    said(record, protocol.Progress("detect", 5, 10, 0.25), PEOPLE)
    assert record.warnings == []
    job_panel.draw_job(Layout(drawn), record)
    assert ("progress", "25%") in drawn
    assert "on the farm, frames 3-30" in [call[-1] for call in drawn]
    said(record, protocol.Done("/farm/motion.npz"))  # but the files of its folder are not all there yet
    assert record.status is Status.ON_FARM
    assert "cannot be brought from" in str(import_job.jobs.on_farm[record.name])
    folder = Path(record.farm)
    for name in ("person-1.png", "film-00ff.mp4"):
        (folder / name).write_bytes(name.encode())
    shutil.copy(motion_path, folder / farm_status.MOTION)
    said(record, PEOPLE, protocol.Warn("It was dark."), protocol.Environment("Python"), protocol.Done("/farm/m.npz"))
    assert (record.status, record.farm, record.people) == (Status.DONE, "", PEOPLE.people)
    assert "It was dark." in record.warnings
    assert (record.folder / "film-00ff.mp4").read_bytes() == b"film-00ff.mp4"
    assert job_record.load(record.folder) == record
    shutil.rmtree(folder)
    assert bpy.ops.wham.import_job(job=record.name) == {"FINISHED"}
    assert bpy.context.object.wham_motion.frames == 40


def test_a_failure_on_the_farm_is_shown_and_may_be_mended_there(clip):
    record = submit(clip)
    said(record, protocol.Failed("No person found.", "no-person"))
    assert (record.status, record.error, record.error_code) == (Status.FAILED, "No person found.", "no-person")
    said(record, protocol.Progress("detect", 1, 10, 0.1))  # the farm tries again
    assert (record.status, record.error) == (Status.ON_FARM, "")
    said(record, protocol.Failed("Cancelled.", "cancelled"))
    assert record.status is Status.CANCELLED
    Path(record.farm).rename(f"{record.farm}-first")
    record.corrections.write_text(NO_CORRECTIONS.text(), "utf-8")
    assert bpy.ops.wham.resume_job(job=record.name) == {"FINISHED"}  # on the farm again
    again = import_job.jobs.all[0]
    assert again.status is Status.ON_FARM
    corrections = Path(again.farm) / "corrections.json"  # where the farm's worker looks for them
    assert corrections.read_text("utf-8") == NO_CORRECTIONS.text()
    references = _read(Path(again.farm) / "bundle/asset_references.json")["assetReferences"]
    assert references["inputs"]["filenames"] == [str(clip), str(corrections)]


def test_a_clip_is_on_the_farm_once(clip, fake_worker):
    fake_worker("")
    submit(clip)
    assert failure(clip).startswith("some clip.mp4 is on the farm already.")
    with pytest.raises(RuntimeError, match="on the farm already"):
        bpy.ops.wham.import_video(filepath=str(clip), clip_start=3, clip_end=30)


def test_a_damaged_status_and_a_storage_that_is_away_are_sentences(clip, tmp_path):
    record = submit(clip)
    (Path(record.farm) / farm_status.STATUS).write_text("{", "utf-8")
    farm_watch.look()
    assert "cannot be read" in str(import_job.jobs.on_farm[record.name])
    shutil.rmtree(tmp_path / "shared")
    (tmp_path / "shared").touch()
    farm_watch.look()
    assert "Connect that storage" in str(import_job.jobs.on_farm[record.name])
    assert record.status is Status.ON_FARM
    other = shutil.copy(clip, tmp_path / "other.mp4")
    assert failure(other).startswith("The job cannot be written to")


def test_the_timer_looks_in_a_thread(clip, motion_path, monkeypatch):
    monkeypatch.setattr(farm, "_PAUSE", 0.0)
    record = submit(clip)
    shutil.copy(motion_path, Path(record.farm) / farm_status.MOTION)
    status = FarmStatus(done=True)
    status.save(Path(record.farm))
    farm_watch.tick()
    assert farm_watch._thread is not None
    farm_watch._thread.join(30)
    farm_watch.tick()
    assert record.status is Status.DONE


def test_the_panel_says_what_is_missing(preferences):
    drawn: list[tuple] = []
    panel = type("Panel", (), {"layout": Layout(drawn)})()
    farm_panel.WHAM_PT_farm.draw(panel, bpy.context)
    assert ("operator", "wham.submit_to_farm", None) in drawn
    preferences.farm = "FLAMENCO"
    drawn.clear()
    farm_panel.WHAM_PT_farm.draw(panel, bpy.context)
    assert ("operator", "wham.submit_to_farm", None) not in drawn
    assert ("operator", "preferences.addon_show", "Open Preferences") in drawn
