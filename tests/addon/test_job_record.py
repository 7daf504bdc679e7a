"""A job's state on disk: whole or not there, held by one, cleaned by the rule. Needs no Blender."""

import errno
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from wham_blender.addon.jobs import job_record
from wham_blender.addon.jobs.job_record import FolderLock, JobRecord, Status
from wham_blender.addon.worker.process import JobError

DAY = 86400.0


def make(jobs, name, size=0, **values):
    record = JobRecord(jobs / name, f"/clips/{name}.mp4", {"person": "MAIN"}, **values)
    record.folder.mkdir(parents=True)
    record.save()
    with (record.folder / "detect.npz").open("wb") as stage:
        stage.truncate(size)
    return record


def test_a_record_comes_back_as_it_was(tmp_path):
    record = make(
        tmp_path, "näh", status=Status.FAILED, error="Dark.", people=[{"id": 1}], results={"1": "motion-1.npz"}
    )
    assert job_record.scan(tmp_path) == [record]
    assert sorted(path.name for path in record.folder.iterdir()) == ["detect.npz", "job.json"]


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", '{"clip": "a.mp4"}', '{"clip": 1, "options": {}, "status": "DONE"}',
     '{"clip": "a.mp4", "options": {}, "status": "ASLEEP"}', '{"clip": "a", "options": {}, "status": "DONE", "x": 1}',
     '{"clip": "a", "options": {}, "status": "DONE", "people": [1]}'],
)  # fmt: skip
def test_what_is_damaged_is_no_job(tmp_path, damage):
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


def test_one_process_at_a_time_has_a_job_in_hand(tmp_path):
    """Another Blender's lock is felt, and is gone with it however it ends."""
    code = (
        f"import sys, time; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from pathlib import Path\nfrom wham_blender.addon.jobs.job_record import FolderLock\n"
        f"hold = FolderLock(Path({str(tmp_path / 'walk')!r})); print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        assert job_record.is_locked(tmp_path / "walk")
        with pytest.raises(JobError, match="Another Blender has walk in hand"):
            FolderLock(tmp_path / "walk")
        other.kill()
    hold = FolderLock(tmp_path / "walk")
    assert job_record.is_locked(tmp_path / "walk")
    hold.release()
    assert not job_record.is_locked(tmp_path / "walk")


def test_windows_locks_a_byte_of_the_file(tmp_path, monkeypatch):
    calls = []

    def locking(descriptor, mode, count):
        calls.append((mode, count))
        if len(calls) > 1:
            raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(sys, "platform", "win32")
    hold = job_record.FolderLock(tmp_path)
    with pytest.raises(JobError, match="Another Blender has"):
        job_record.FolderLock(tmp_path)
    hold.release()
    assert calls == [(2, 1), (2, 1)]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match=r"cannot be kept in .* Choose another jobs folder"):
        FolderLock(tmp_path / "file" / "walk")


def test_old_jobs_are_cleaned_away_but_none_that_is_waited_for_or_held(tmp_path):
    now = time.time()
    for status in Status:
        make(tmp_path, f"old {status.name}", status=status, ended=now - 31 * DAY)
        make(tmp_path, f"new {status.name}", status=status, ended=now - 29 * DAY)
    held = make(tmp_path, "held", status=Status.FAILED, ended=now - 31 * DAY)
    hold = FolderLock(held.folder)
    (tmp_path / "not ours").mkdir()
    job_record.clean(tmp_path, now)
    hold.release()
    gone = {f"old {status.name}" for status in (Status.CANCELLED, Status.FAILED, Status.IMPORTED)}
    everything = {f"{age} {status.name}" for status in Status for age in ("old", "new")} | {"held", "not ours"}
    assert {path.name for path in tmp_path.iterdir()} == everything - gone


def test_the_oldest_go_first_where_all_are_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(job_record, "KEPT_BYTES", 5000)
    now = time.time()
    make(tmp_path, "waits", 3000, status=Status.DONE, ended=now - 9 * DAY)
    for age in (1, 2, 3):
        make(tmp_path, f"{age} days", 1500, status=Status.IMPORTED, ended=now - age * DAY)
    job_record.clean(tmp_path, now)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1 days", "waits"]
