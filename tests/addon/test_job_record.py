"""A job's record on disk: complete or absent, locked by one process, cleaned by age and size. Needs no Blender."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from wham_blender import limits
from wham_blender.addon.jobs import job_record
from wham_blender.addon.jobs.job_record import FolderLock, JobRecord, Status
from wham_blender.addon.worker.process import JobError
from wham_blender.files import file_state
from wham_blender.protocol import FoundPerson

DAY = 86400.0


def make(jobs, name, size=0, **values):
    record = JobRecord(jobs / name, f"/clips/{name}.mp4", {"person": "MAIN"}, **values)
    record.folder.mkdir(parents=True)
    record.save()
    with (record.folder / "detect.npz").open("wb") as stage:
        stage.truncate(size)
    return record


def test_a_record_is_loaded_as_it_was_saved(tmp_path):
    record = make(
        tmp_path,
        "näh",
        status=Status.FAILED,
        error="Dark.",
        people=[FoundPerson(1, 1, 9, 9, 0.5)],
        results={"1": "motion-1.npz"},
    )
    assert job_record.scan(tmp_path) == [record]
    assert sorted(path.name for path in record.folder.iterdir()) == ["detect.npz", "job.json"]


def test_a_record_of_an_older_version_still_loads(tmp_path):
    record = make(tmp_path, "walk", status=Status.FAILED, error="Dark.", error_code="no-person")
    path = record.folder / "job.json"
    values = json.loads(path.read_text("utf-8"))
    for name in ("error_code", "results_key", "clip_sha256", "clip_state"):
        del values[name]
    path.write_text(json.dumps(values), "utf-8")
    (old,) = job_record.scan(tmp_path)
    assert (old.error, old.error_code, old.results_key, old.clip_state) == ("Dark.", "", "", [])
    assert not old.clip_was_exchanged()


def test_an_exchanged_clip_of_the_same_size_and_time_is_noticed(tmp_path):
    clip = tmp_path / "walk.mp4"
    clip.write_bytes(b"first")
    record = JobRecord(tmp_path / "job", str(clip), {}, clip_state=file_state(clip))
    before = clip.stat()
    assert not record.clip_was_exchanged()
    time.sleep(0.02)  # file systems keep change times of a few milliseconds
    clip.write_bytes(b"other")
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert clip.stat().st_mtime_ns == before.st_mtime_ns
    assert record.clip_was_exchanged()
    clip.unlink()
    assert not record.clip_was_exchanged()


def test_all_that_a_file_system_and_a_worker_may_say_comes_back(tmp_path):
    """Inodes and times beyond 2**53, undecodable names, long sentences: a record that is written can be read."""
    record = make(tmp_path, "walk", clip_state=[5, 1764300000123456789, 1764300000123456789, 2**64 - 1])
    record.fail("Cannot read /clips/caf\udce9.mp4. " + "x" * 100_000, "unexpected")
    for number in range(limits.WARNINGS + 5):
        record.warn(f"{number} " + "\U0001f600\0" * 10_000)
    record.people = [FoundPerson(number, 1, 9, 9, 0.5, "p" * 200) for number in range(1, limits.PEOPLE + 1)]
    record.clip = "/clips/caf\udce9\n\x1b.mp4"
    record.save()
    assert job_record.load(record.folder) == record
    assert record.title == "caf? ?.mp4"
    assert record.error.startswith("Cannot read /clips/caf?.mp4. ")
    assert len(record.warnings) == limits.WARNINGS


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_each_name_has_a_folder_of_its_own_that_blender_can_name(tmp_path):
    """Blender's texts hold neither bytes that are not UTF-8 nor, in one line, line breaks."""
    names = [b"caf\xe9.mp4", b"caf\xea.mp4", b"a\nb.mp4", b"a b.mp4", b"a?b.mp4", "\U0001f600".encode() * 62 + b".mp4"]
    folders = [job_record.folder_for(tmp_path, Path(os.fsdecode(name)), 1, 0) for name in names]
    assert len({folder.name for folder in folders}) == len(names)
    for folder in folders:
        assert folder.name.isprintable()
        folder.mkdir()


@pytest.mark.parametrize(
    ("person", "key"),
    [
        ("MAIN", "1"),
        (" main ", "1"),
        ("all", "ALL"),
        ("12", "12"),
        ("../../x", "1"),
        ("9" * 5000, "1"),
        (3, "3"),
        (None, "1"),
    ],
)
def test_the_option_person_never_leads_out_of_the_folder(tmp_path, person, key):
    record = JobRecord(tmp_path / "walk", "/clips/walk.mp4", {"person": person})
    assert record.person == key
    assert record.result_path(record.person).parent == tmp_path / "walk"


GOOD = {"clip": "a.mp4", "options": {}, "status": "DONE"}


@pytest.mark.parametrize(
    "change",
    [
        {"clip": 1}, {"clip": None}, {"clip": "a\ud800"}, {"options": []}, {"options": {"person": {"a": 1}}},
        {"options": {"person": ["MAIN"]}}, {"status": ["DONE"]}, {"status": {}}, {"created": "now"}, {"created": None},
        {"created": 10**400}, {"ended": float("nan")}, {"ended": float("inf")}, {"started": -1}, {"pid": "x"},
        {"pid": 1.5}, {"error": 3}, {"error_code": []}, {"warnings": [3]}, {"warnings": "dark"}, {"people": {}},
        {"people": [{"id": "1"}]},
        {"people": [{"id": 1, "first_frame": 1, "last_frame": 9, "frames": 9, "height": 0.5, "picture": "../x.png"}]},
        {"results": {"1": "../../motion.npz"}}, {"results": {"1": 3}}, {"results": []}, {"results_key": 3},
        {"clip_state": ["x"]}, {"clip_state": [1.5]}, {"environment": ["Python"]}, {"folder": 3, "options": 3},
    ],
    ids=lambda change: ascii(change)[:40],
)  # fmt: skip
def test_one_value_of_a_wrong_type_hides_no_other_job(tmp_path, change):
    good = make(tmp_path, "good")
    bad = make(tmp_path, "bad")
    (bad.folder / "job.json").write_text(json.dumps(GOOD | change))
    assert job_record.load(bad.folder) is None
    assert job_record.scan(tmp_path) == [good]
    job_record.clean(tmp_path, time.time())


@pytest.mark.parametrize("kind", ["pipe", "folder", "deep", "huge", "device", "loop"])
def test_whatever_lies_in_the_place_of_a_record_hides_no_other_job(tmp_path, kind):
    good = make(tmp_path, "good")
    path = make(tmp_path, "bad").folder / "job.json"
    path.unlink()
    match kind:
        case "pipe" if hasattr(os, "mkfifo"):
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "deep":
            path.write_text('{"clip": ' + "[" * 200_000)
        case "huge":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case "device" if Path("/dev/zero").exists():
            path.symlink_to("/dev/zero")
        case "loop" if hasattr(os, "symlink"):
            path.symlink_to(path)
        case _:
            pytest.skip("not on this system")
    assert job_record.scan(tmp_path) == [good]


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", '{"clip": "a.mp4"}', '{"clip": 1, "options": {}, "status": "DONE"}',
     '{"clip": "a.mp4", "options": {}, "status": "ASLEEP"}', '{"clip": "a", "options": {}, "status": "DONE", "x": 1}',
     '{"clip": "a", "options": {}, "status": "DONE", "people": [1]}'],
)  # fmt: skip
def test_a_damaged_record_is_skipped(tmp_path, damage):
    record = make(tmp_path, "walk")
    (record.folder / "job.json").write_text(damage)
    assert job_record.scan(tmp_path) == []


def test_a_write_that_fails_leaves_the_state_as_it_was(tmp_path, monkeypatch):
    record = make(tmp_path, "walk")
    record.error = "new"

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        record.save()
    assert [record.error for record in job_record.scan(tmp_path)] == [""]
    assert sorted(path.name for path in record.folder.iterdir()) == ["detect.npz", "job.json"]


def test_clips_and_ranges_have_folders_of_their_own(tmp_path):
    asked = [("/a/walk.mp4", 1, 0), ("/b/walk.mp4", 1, 0), ("/a/walk.mp4", 1, 90), ("/a/walk.mp4", 5, 90)]
    folders = {job_record.folder_for(tmp_path, Path(clip), start, end) for clip, start, end in asked}
    assert len(folders) == 4
    assert all(folder.name.startswith("walk-") for folder in folders)


def test_one_process_at_a_time_locks_a_job(tmp_path):
    """Another process's lock is respected, and released when that process is killed."""
    code = (
        f"import sys, time; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from pathlib import Path\nfrom wham_blender.addon.jobs.job_record import FolderLock\n"
        f"lock = FolderLock(Path({str(tmp_path / 'walk')!r})); print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        assert job_record.is_locked(tmp_path / "walk")
        with pytest.raises(JobError, match="Another Blender is working on walk"):
            FolderLock(tmp_path / "walk")
        other.kill()
    lock = FolderLock(tmp_path / "walk")
    assert job_record.is_locked(tmp_path / "walk")
    lock.release()
    assert not job_record.is_locked(tmp_path / "walk")


def test_windows_locks_a_byte_of_the_file(tmp_path, monkeypatch):
    calls = []

    def locking(descriptor, mode, count):
        calls.append((mode, count))
        if len(calls) > 1:
            raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(sys, "platform", "win32")
    lock = job_record.FolderLock(tmp_path)
    with pytest.raises(JobError, match="Another Blender is working on"):
        job_record.FolderLock(tmp_path)
    lock.release()
    assert calls == [(2, 1), (2, 1)]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match=r"cannot be kept in .* Choose another jobs folder"):
        FolderLock(tmp_path / "file" / "walk")


def test_old_jobs_are_deleted_unless_unfinished_or_locked(tmp_path):
    now = time.time()
    for status in Status:
        make(tmp_path, f"old {status.name}", status=status, ended=now - 31 * DAY)
        make(tmp_path, f"new {status.name}", status=status, ended=now - 29 * DAY)
    held = make(tmp_path, "held", status=Status.FAILED, ended=now - 31 * DAY)
    lock = FolderLock(held.folder)
    (tmp_path / "not ours").mkdir()
    job_record.clean(tmp_path, now)
    lock.release()
    gone = {f"old {status.name}" for status in (Status.CANCELLED, Status.FAILED, Status.IMPORTED)}
    everything = {f"{age} {status.name}" for status in Status for age in ("old", "new")} | {"held", "not ours"}
    assert {path.name for path in tmp_path.iterdir()} == everything - gone


def test_the_oldest_go_first_where_all_are_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(job_record, "KEPT_BYTES", 5500)
    now = time.time()
    make(tmp_path, "waits", 3000, status=Status.DONE, ended=now - 9 * DAY)
    for age in (1, 2, 3):
        make(tmp_path, f"{age} days", 1500, status=Status.IMPORTED, ended=now - age * DAY)
    job_record.clean(tmp_path, now)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1 days", "waits"]
