"""The panel Jobs: labels and buttons for each job status, the progress bar, and the thumbnails of detected people."""

import time
import zlib

import bpy
import pytest

from tests.addon.test_registration import Layout
from wham_blender.addon.jobs import import_job
from wham_blender.addon.jobs.job_record import JobRecord, Status
from wham_blender.addon.jobs.queue import Work, job_queue
from wham_blender.addon.panels import jobs, result
from wham_blender.addon.ui import person_menu, thumbnails, ui_text
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
        (Status.IMPORTED, False, "not in this scene", ["wham.discard_job", "wham.import_job"]),
    ],
)  # fmt: skip
def test_a_job_of_an_earlier_session_has_the_buttons_of_its_status(drawn, tmp_path, status, elsewhere, text, operators):
    job = record(
        tmp_path, status=status, error="No person found in walk.mp4 (230 frames looked at)." * (status is Status.FAILED)
    )
    import_job.jobs.all = [job]
    import_job.jobs.elsewhere = {job.name} if elsewhere else set()
    panel = type("Panel", (), {"layout": Layout(drawn)})()
    assert not jobs.WHAM_PT_earlier_jobs.poll(bpy.context)
    jobs.WHAM_PT_jobs.draw(panel, bpy.context)
    assert text in label_text(drawn)
    assert buttons(drawn) == operators


def test_imported_follows_the_scene(drawn, tmp_path):
    job = record(tmp_path, status=Status.IMPORTED)
    import_job.jobs.all = [job]
    armature = bpy.data.objects.new("walk Person 1", bpy.data.armatures.new("walk"))
    armature.wham_motion.take, armature.wham_motion.job, armature.wham_motion.person = "take", job.name, 1
    panel = type("Panel", (), {"layout": Layout(drawn)})()
    assert not jobs.WHAM_PT_earlier_jobs.poll(bpy.context)  # another scene has it
    bpy.context.scene.collection.objects.link(armature)
    assert jobs.WHAM_PT_earlier_jobs.poll(bpy.context)
    jobs.WHAM_PT_earlier_jobs.draw(panel, bpy.context)
    assert "imported" in label_text(drawn)
    assert buttons(drawn) == ["wham.discard_job"]


def test_a_failed_job_is_seen_above_the_result(drawn, tmp_path):
    import_job.jobs.all = [record(tmp_path, status=Status.FAILED, error="No person found in walk.mp4. Choose another.")]
    jobs.draw_failed(Layout(drawn))
    assert "No person found in walk.mp4" in label_text(drawn)
    assert buttons(drawn) == ["wham.explain"]
    assert jobs.WHAM_PT_jobs.bl_order > result.WHAM_PT_result.bl_order > 0


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
    shown = thumbnails.picture(job, "person-1.png")
    assert shown is not None
    assert tuple(shown.image_size) == (2, 2)
    drawn.clear()
    jobs.draw_job(Layout(drawn), job, {2})
    assert [call[1] for call in drawn].count("wham.import_person") == 3


def test_the_menu_person_has_the_people_of_the_clip(drawn, tmp_path):
    settings = bpy.context.scene.wham
    menu = type("Menu", (), {"layout": Layout(drawn)})()
    person_menu.WHAM_MT_person.draw(menu, bpy.context)
    assert [call[-1] for call in drawn if call[0] == "operator"][:4] == [
        "Main Person", "All People", "Person 1", "Person 2"
    ]  # fmt: skip
    drawn.clear()
    clip = tmp_path / "walk.mp4"
    job = record(tmp_path, status=Status.IMPORTED, people=[FoundPerson(n, 1, 9, 9, 0.5) for n in range(1, 4)])
    job.clip = str(clip)
    import_job.jobs.all, settings.filepath = [job], str(clip)
    person_menu.WHAM_MT_person.draw(menu, bpy.context)
    assert [call[-1] for call in drawn if call[0] == "operator"][2:] == ["Person 1", "Person 2", "Person 3"]
    assert bpy.ops.wham.choose_person(person="3") == {"FINISHED"}
    assert settings.person == "3"
    assert [person_menu.label(each) for each in (" 2", "main", "the tall one")] == [
        "Person 2", "Main Person", "the tall one (no person)"
    ]  # fmt: skip


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
