"""The panel Jobs: labels and buttons for each job status, the progress bar, and the thumbnails of detected people."""

import time
import zlib

import bpy
import pytest

from tests.addon.test_registration import Layout
from wham_blender.addon.jobs import import_job
from wham_blender.addon.jobs.job_record import JobRecord, Status
from wham_blender.addon.jobs.queue import Work, job_queue
from wham_blender.addon.panels import jobs
from wham_blender.addon.ui import ui_text
from wham_blender.protocol import FoundPerson, Progress


@pytest.fixture
def drawn():
    """The calls that the stand-in for UILayout received."""
    yield []
    job_queue.stop()
    import_job.jobs.all, import_job.jobs.elsewhere = [], set()


def label_text(drawn):
    return " ".join(str(call[-1]) for call in drawn if call[-1])


def buttons(drawn):
    return [call[1] for call in drawn if call[0] == "operator"]


def record(tmp_path, **values):
    return JobRecord(tmp_path / "walk-1234", "/clips/walk.mp4", {"person": "MAIN"}, created=time.time(), **values)


@pytest.mark.parametrize(
    ("status", "elsewhere", "text", "operators"),
    [
        (Status.RUNNING, False, "interrupted when Blender closed", ["wham.discard_job", "wham.resume_job"]),
        (Status.QUEUED, False, "interrupted when Blender closed", ["wham.discard_job", "wham.resume_job"]),
        (Status.RUNNING, True, "in another Blender", []),
        (Status.CANCELLED, False, "cancelled", ["wham.discard_job", "wham.resume_job"]),
        (Status.FAILED, False, "No person found in walk.mp4 (230",
         ["wham.discard_job", "wm.path_open", "wham.copy_report", "wham.explain", "wham.resume_job"]),
        (Status.DONE, False, "ready to import", ["wham.discard_job", "wham.import_job"]),
        (Status.IMPORTED, False, "imported", ["wham.discard_job"]),
    ],
)  # fmt: skip
def test_a_job_of_an_earlier_session_has_the_buttons_of_its_status(drawn, tmp_path, status, elsewhere, text, operators):
    job = record(
        tmp_path, status=status, error="No person found in walk.mp4 (230 frames looked at)." * (status is Status.FAILED)
    )
    import_job.jobs.all = [job]
    import_job.jobs.elsewhere = {job.name} if elsewhere else set()
    panel = type("Panel", (), {"layout": Layout(drawn)})()
    folded = jobs.WHAM_PT_earlier_jobs.poll(bpy.context)
    assert folded == (status is Status.IMPORTED)
    jobs.WHAM_PT_jobs.draw(panel, bpy.context)
    if folded:
        assert not buttons(drawn)
        jobs.WHAM_PT_earlier_jobs.draw(panel, bpy.context)
    assert text in label_text(drawn)
    assert buttons(drawn) == operators


def test_a_running_job_shows_its_progress_bar_and_stage(drawn, tmp_path):
    work = Work()
    work.title = "walk.mp4"
    job_queue.running = work
    job_queue.progress = Progress("detect", 5, 9, 0.5, 61.0)
    ui_text.draw_progress(Layout(drawn))
    assert ("progress", "50%, 1:01 left") in drawn
    assert ("label", "Detecting people: 5 of 9") in drawn
    assert buttons(drawn) == ["wham.cancel"]
    job_queue.running, job_queue.error = (
        None,
        "The worker's packages could not be installed, for a reason told at length.",
    )
    ui_text.draw_progress(Layout(drawn))
    assert all(len(call[-1]) < 60 for call in drawn if call[0] == "label")
    assert "reason told at length." in label_text(drawn)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.QUEUED])
def test_every_job_has_one_log_button(drawn, tmp_path, status):
    job = record(tmp_path, status=status)
    job.folder.mkdir()
    job.log.touch()
    jobs.draw_job(Layout(drawn), job)
    assert buttons(drawn).count("wm.path_open") == 1


def test_people_are_shown_with_thumbnails_and_frame_ranges(drawn, tmp_path):
    people = [
        FoundPerson(1, 1, 230, 230, 0.6, "person-1.png"),
        FoundPerson(2, 41, 200, 160, 0.3, "person-2.png"),
    ]
    job = record(tmp_path, status=Status.IMPORTED, people=people)
    job.folder.mkdir()
    for name in ("walk-1234/person-1.png", "person-2.png"):
        (tmp_path / name).write_bytes(png())
    jobs.draw_job(Layout(drawn), job)
    assert [call[-1] for call in drawn if call[1:2] == ("wham.import_person",)] == [
        "Person 1, 1 - 230",
        "Person 2, 41 - 200",
        "All People",
    ]
    assert [call[0] for call in drawn].count("template_icon") == 1  # the other picture is not in the job's folder
    shown = jobs._thumbnail(job, "person-1.png")
    assert shown is not None
    assert tuple(shown.image_size) == (2, 2)


def test_of_many_people_the_largest_are_shown(drawn, tmp_path):
    job = record(tmp_path, status=Status.IMPORTED, people=[FoundPerson(n, 1, 9, 9, 0.5) for n in range(1, 201)])
    jobs.draw_job(Layout(drawn), job)
    assert buttons(drawn).count("wham.import_person") == 51  # fifty, and all
    assert "and 150 more" in label_text(drawn)


def png():
    """A picture of 2 x 2 red pixels."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = b"\0\0\0\2\0\0\0\2\x08\2\0\0\0"
    pixels = zlib.compress(2 * (b"\0" + 2 * b"\xff\0\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
