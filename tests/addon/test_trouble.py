"""Failures of worker, disk and Blender are reported as sentences. How long ticks take: ``build.py bench jobs``."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import bpy  # first: it brings addon_utils

# isort: split
import addon_utils
import pytest

from tests.addon.conftest import DELIVER
from wham_blender import protocol
from wham_blender.addon.jobs import import_job, job_record
from wham_blender.addon.jobs.job_record import Status
from wham_blender.addon.jobs.queue import job_queue
from wham_blender.addon.worker.process import Job

POLL = Job.poll


def test_ctrl_c_in_a_script_ends_the_worker(fake_worker, queue, clip, monkeypatch):
    fake_worker("say(protocol.Progress('detect', 1, 2, 0.5))\ntime.sleep(60)\n")
    work = queue()
    job_queue.waiting.remove(work)
    tick = job_queue.tick

    def interrupted():
        tick()
        if job_queue.progress and not work.cancelled:
            raise KeyboardInterrupt

    monkeypatch.setattr(job_queue, "tick", interrupted)
    with pytest.raises(KeyboardInterrupt):
        job_queue.run_to_end(work)
    assert work.record.status is Status.CANCELLED
    assert not job_queue.busy
    assert not job_queue.finishing


def test_disabling_the_add_on_ends_the_worker_and_the_job_is_offered_again(fake_worker, queue, clip, motion_path):
    fake_worker("say(protocol.Progress('detect', 1, 2, 0.5))\ntime.sleep(60)\n")
    work = queue(person="2")
    queue.until(lambda: job_queue.progress)
    job = job_queue.job
    addon_utils.disable("wham_blender", default_set=True)
    assert job is not None
    assert job.result is not None or job._process.poll() is not None
    addon_utils.enable("wham_blender", default_set=True)
    import_job.jobs.refresh()
    (record,) = import_job.jobs.all
    assert import_job.is_interrupted(record)
    assert record.options["person"] == "2"
    fake_worker("assert arguments[arguments.index('--person') + 1] == '2'\n" + DELIVER.format(motion=str(motion_path)))
    assert bpy.ops.wham.resume_job(job=work.name) == {"FINISHED"}
    assert "dance" in bpy.data.collections


def test_a_job_folder_deleted_while_the_job_runs_is_reported(fake_worker, queue, clip):
    fake_worker(
        "shutil.rmtree(os.path.dirname(arguments[2]))\nsay(protocol.People([protocol.FoundPerson(1, 1, 9, 9, 0.5)]))\n"
        "print('noise')\n1 / 0\n"
    )
    work = queue()
    queue.to_end()
    assert work.record.status is Status.FAILED
    assert "was deleted while it ran. Import the clip again." in work.record.error
    assert bpy.ops.wham.discard_job(job=work.name) == {"FINISHED"}


def test_a_full_disk_is_reported_before_a_job_and_does_not_stop_a_running_one(
    fake_worker, queue, clip, motion_path, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    fake_worker(DELIVER.format(motion=str(motion_path)))
    with monkeypatch.context() as disk:
        disk.setattr(job_record, "replace_text", full)
        with pytest.raises(RuntimeError, match=r"No space left on device\. Make space, or choose"):
            bpy.ops.wham.import_video(filepath=str(clip))
    work = queue()  # the lock was given back
    with monkeypatch.context() as disk:
        disk.setattr(job_record, "replace_text", full)
        queue.to_end()
    assert work.record.status is Status.IMPORTED
    assert "dance" in bpy.data.collections


TROUBLE = {
    "lines that fill the log three times": (
        "line = ('noise ' * 10 + '\\n') * 1000\nfor n in range(200): "
        "sys.stdout.write(line); say(protocol.Progress('detect', n, 200, n / 200))\n"
        "say(protocol.Failed('Enough.'))\n",
        r"Enough\.",
    ),
    "more messages than the queue holds": (
        "people = [protocol.FoundPerson(n, 1, 9, 9, 0.5) for n in range(1, 51)]\n"
        "for n in range(600): say(protocol.Warn(f'Warning {n}.')); say(protocol.People(people))\n"
        "say(protocol.Failed('Enough.'))\n",
        r"Enough\.",
    ),
    "one line without end": (
        "for n in range(300): sys.stdout.write('{\"type\": ' * 1000)\nsay(protocol.Failed('Enough.'))\n",
        r"Enough\.",
    ),
    "one message without end": (
        "for n in range(300): os.write(protocol.descriptor, b'{\"type\": ' * 1000)\nsay(protocol.Failed('Lost.'))\n",
        r"ended without a result \(exit code 0\)",
    ),
    "killed in the middle of a message": (
        'os.write(protocol.descriptor, b\'{"type": "Failed", "te\'); os.kill(os.getpid(), signal.SIGKILL)\n',
        r"ended by SIGKILL, perhaps because memory ran out\. Import the clip again",
    ),
    "its folder deleted": (
        "shutil.rmtree(os.path.dirname(arguments[2]))\nsay(protocol.People([protocol.FoundPerson(1, 1, 9, 9, 0.5)]))\n"
        "print('noise')\n1 / 0\n",
        r"was deleted while it ran\. Import the clip again",
    ),
    "the disk full": (
        "try: open('/dev/full', 'w').write('x' * 9999)\nexcept OSError as error: say(protocol.Failed("
        "f'Cannot write to here: {error.strerror}.'))\n",
        r"Cannot write to here: No space left on device\.",
    ),
}


@pytest.mark.parametrize(("worker", "sentence"), TROUBLE.values(), ids=TROUBLE)
def test_failures_are_reported(fake_worker, queue, clip, worker, sentence):
    if "/dev/full" in worker and not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    fake_worker(worker)
    work = queue()
    queue.to_end()
    assert work.record.status is Status.FAILED
    assert re.search(sentence, work.record.error)
    assert not work.record.log.exists() or work.record.log.stat().st_size < 8 << 20


@pytest.mark.parametrize("place", ["start", "receive", "end", "finish", "poll"])
def test_a_fault_of_the_add_on_leaves_the_queue_free(fake_worker, queue, clip, tmp_path, monkeypatch, place):
    """A bug there is not known; if there is one, the next job must run nevertheless."""

    def fault(*_):
        raise ArithmeticError("a fault")

    fake_worker("say(protocol.Warn('It is dark.'))\ntime.sleep(60 * (arguments[0].endswith('some clip.mp4')))\n")
    work = queue()
    next_work = queue(shutil.copy(clip, tmp_path / "other.mp4"))
    monkeypatch.setattr(Job if place == "poll" else work, place, fault)
    queue.until(lambda: place in ("end", "finish") or (job_queue.running is not work and work not in job_queue.waiting))
    monkeypatch.setattr(Job, "poll", POLL)
    if place in ("end", "finish"):
        job_queue.cancel(work)
    queue.to_end()
    assert isinstance(work.result, protocol.Failed)
    assert (
        work.result.text
        == "some clip.mp4 was stopped by a fault of the add-on: a fault. Blender's console shows where."
    )
    assert work.result.code == "unexpected"
    assert not job_record.is_locked(work.record.folder)
    if place in ("start", "receive", "poll"):
        assert (work.record.status, work.record.error) == (Status.FAILED, work.result.text)
    assert next_work.record.status is Status.FAILED
    assert "exit code 0" in next_work.record.error


def test_a_fault_of_the_add_on_ends_a_script_that_waits(fake_worker, clip, monkeypatch):
    def fault(*_):
        raise ArithmeticError("a fault")

    fake_worker("")
    monkeypatch.setattr(import_job.ImportWork, "receive", fault)
    monkeypatch.setattr(import_job.ImportWork, "start", fault)
    with pytest.raises(RuntimeError, match="was stopped by a fault of the add-on: a fault"):
        bpy.ops.wham.import_video(filepath=str(clip))
    assert not job_queue.busy


def test_a_job_outlives_a_blender_that_is_killed(fake_worker, clip, jobs, motion_path):
    """Its worker ends with it, and the next Blender offers the job again."""
    fake_worker("say(protocol.Progress('detect', 1, 2, 0.5))\nsys.stdin.read()\n")
    blender = (
        "import bpy, addon_utils, os, signal, sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "addon_utils.enable('wham_blender', default_set=True)\n"
        "from pathlib import Path\nfrom wham_blender.addon.jobs import import_job\n"
        "from wham_blender.addon.properties import VideoOptions, option_names\n"
        "from wham_blender.addon.jobs.queue import job_queue\n"
        "known = bpy.ops.wham.import_video.get_rna_type().properties\n"
        "options = {name: known[name].default for name in option_names(VideoOptions)}\n"
        f"job_queue.add(import_job.prepare(Path({str(clip)!r}), options | dict(person='2')))\n"
        "while not job_queue.progress: job_queue.tick(); time.sleep(0.02)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", blender], check=False, capture_output=True, timeout=120)
    import_job.jobs.refresh()
    (record,) = import_job.jobs.all
    assert record.status is Status.RUNNING
    assert import_job.is_interrupted(record)
    fake_worker("assert arguments[arguments.index('--person') + 1] == '2'\n" + DELIVER.format(motion=str(motion_path)))
    assert bpy.ops.wham.resume_job(job=record.name) == {"FINISHED"}
    assert "dance" in bpy.data.collections
    import_job.jobs.all = []
