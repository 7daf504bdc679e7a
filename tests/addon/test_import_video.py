"""`import_video` with a stand-in for the worker: blocking as in a script, and tick by tick as from a window."""

import os
import shutil
import sys
import time
from pathlib import Path

import bpy
import pytest

from tests.addon.conftest import DELIVER
from tests.addon.test_registration import Layout
from wham_blender.addon import build_scene, settings
from wham_blender.addon.jobs import import_job, job_record
from wham_blender.addon.jobs.job_record import Status
from wham_blender.addon.jobs.queue import job_queue
from wham_blender.addon.operators import jobs as operators_of_jobs
from wham_blender.addon.panels.jobs import draw_job
from wham_blender.addon.scene import character
from wham_blender.addon.ui import ui_text
from wham_blender.addon.worker.process import JobError


def test_script_blocks_and_gets_a_character_and_its_clip(fake_worker, motion_path, clip, jobs, capfd):
    fake_worker(
        "say(protocol.Progress('detect', 1, 2, 0.5))\nsay(protocol.Warn('It is dark.'))\ntime.sleep(0.2)\n"
        + DELIVER.format(motion=str(motion_path))
    )
    assert bpy.ops.wham.import_video(filepath=str(clip), fps="CLIP", start_frame=7) == {"FINISHED"}
    collection = bpy.data.collections["dance"]
    assert {o.type for o in collection.objects} == {"ARMATURE", "MESH", "CAMERA"}
    assert bpy.context.scene.camera.data.background_images[0].image.name == "some clip.mp4"
    assert bpy.context.scene.frame_start == 7
    said = capfd.readouterr().out
    assert "some clip.mp4: detect" in said
    assert "Warning: It is dark." in said
    assert not job_queue.busy
    (record,) = job_record.scan(jobs)
    assert record.status is Status.IMPORTED


def test_dropped_clips_become_characters_with_the_panels_options(fake_worker, motion_path, clip):
    fake_worker(DELIVER.format(motion=str(motion_path)))
    bpy.context.scene.wham.start_frame = 20
    shutil.copy(clip, clip.with_name("B.MOV"))
    files = [{"name": clip.name}, {"name": "notes.txt"}, {"name": "B.MOV"}]
    assert bpy.ops.wham.drop_clips(directory=str(clip.parent), files=files) == {"FINISHED"}
    assert len(bpy.data.collections) == 2
    assert {image.name for image in bpy.data.images} == {clip.name, "B.MOV"}
    armatures = [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]
    assert [armature.wham_motion.first_frame for armature in armatures] == [20, 20]
    with pytest.raises(RuntimeError, match=r"No clip was dropped. Choose files that end in \.mp4"):
        bpy.ops.wham.drop_clips(directory=str(clip.parent), files=files[1:2])


def test_a_folder_s_clips_become_characters_with_the_panels_options(fake_worker, motion_path, clip, tmp_path):
    fake_worker(DELIVER.format(motion=str(motion_path)))
    bpy.context.scene.wham.start_frame = 20
    folder = tmp_path / "takes"
    (folder / "empty").mkdir(parents=True)
    for name in ("a.mp4", "B.MOV"):
        shutil.copy(clip, folder / name)
    (folder / "notes.txt").touch()
    assert bpy.ops.wham.import_folder(directory=str(folder)) == {"FINISHED"}
    assert {image.name for image in bpy.data.images} == {"a.mp4", "B.MOV"}
    armatures = [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]
    assert [armature.wham_motion.first_frame for armature in armatures] == [20, 20]
    with pytest.raises(RuntimeError, match=r"The folder empty has no clips\. Choose one with videos"):
        bpy.ops.wham.import_folder(directory=str(folder / "empty"))
    with pytest.raises(RuntimeError, match=r"The clips in .*gone cannot be listed: No such file or directory\."):
        bpy.ops.wham.import_folder(directory=str(folder / "gone"))


def test_every_option_reaches_the_worker(fake_worker, clip, jobs):
    fake_worker("say(protocol.Failed(' '.join(arguments)))\n")
    with pytest.raises(RuntimeError) as caught:
        bpy.ops.wham.import_video(
            filepath=str(clip),
            person=" 2",
            quality="DRAFT",
            device="CPU",
            clip_start=5,
            clip_end=90,
            rotate="270",
            speed=8,
            focal_length_mm=28,
            camera="MOVING",
            actor_height=1.8,
            static_anchor=False,
            gender="FEMALE",
            refine=False,
            smooth=0.2,
            world="WHAM",
            hands="NONE",
        )
    said = str(caught.value)
    folder = next(jobs.iterdir())
    assert folder.name.startswith("some clip-")
    for words in (
        f"{clip} -o {folder}/motion-2.npz --json --resume {folder}",
        "--person 2", "--quality draft", "--device CPU", "--camera moving", "--world wham", "--actor-height 1.8",
        "--no-anchor", "--start 5", "--end 90", "--rotate 270", "--speed 8",
        "--focal-length 28", "--no-refine --no-hands --smooth 0.2", "--gender female",
    ):  # fmt: skip
        assert words in said


def test_a_motion_without_hands_is_none_for_an_import_with_hands():
    kept = [import_job._motion_options({"hands": hands, "refine": True}) for hands in ("FILM", "RELAXED", "NONE")]
    assert kept[1] == kept[2] != kept[0] == import_job._motion_options({"refine": True})


@pytest.mark.parametrize(
    ("worker", "sentence"),
    [
        ("say(protocol.Failed('No person found in some clip.mp4.'))", "No person found in some clip.mp4."),
        ("1 / 0", "exit code 1"),
        ("say(protocol.Done(arguments[2]))", "motion of some clip.mp4 was deleted"),
    ],
)
def test_what_went_wrong_is_raised_and_kept(fake_worker, clip, jobs, worker, sentence):
    fake_worker(worker)
    with pytest.raises(RuntimeError, match=sentence):
        bpy.ops.wham.import_video(filepath=str(clip))
    (record,) = job_record.scan(jobs)
    assert record.status is Status.FAILED
    assert sentence in record.error
    assert record.log.is_file()
    assert not job_queue.busy


@pytest.mark.parametrize(("text", "reason"), [("one\ntwo", "one"), ("", "ArithmeticError")])
def test_a_fault_while_importing_is_a_sentence_and_its_traceback_in_the_log(
    fake_worker, clip, jobs, motion_path, monkeypatch, text, reason
):
    def fault(*_):
        raise ArithmeticError(text)

    monkeypatch.setattr(build_scene, "_build_character", fault)
    fake_worker(DELIVER.format(motion=str(motion_path)))
    with pytest.raises(RuntimeError, match=f"could not be used: {reason}. The log says"):
        bpy.ops.wham.import_video(filepath=str(clip))
    (record,) = job_record.scan(jobs)
    assert f"could not be used: {reason}." in record.error
    assert "Traceback" in record.log.read_text("utf-8")


@pytest.mark.parametrize("person", ["0", "-1", "the tall one", "", "1.5"])
def test_a_person_that_is_no_choice_is_a_sentence(fake_worker, clip, jobs, person):
    fake_worker("")
    with pytest.raises(RuntimeError, match="Type MAIN, ALL or a number from 1"):
        bpy.ops.wham.import_video(filepath=str(clip), person=person)
    assert not jobs.exists()


def test_a_number_that_is_none_is_a_sentence(fake_worker, clip, jobs):
    fake_worker("")
    with pytest.raises(RuntimeError, match=r"The option focal_length_mm is nan\. Give it a number"):
        bpy.ops.wham.import_video(filepath=str(clip), focal_length_mm=float("nan"))
    assert not jobs.exists()


def test_a_person_of_thousands_of_digits_is_a_sentence(fake_worker, clip):
    fake_worker("")
    with pytest.raises(RuntimeError, match="Type MAIN, ALL or a number from 1"):
        bpy.ops.wham.import_video(filepath=str(clip), person="9" * 5000)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_missing_clip_whose_name_is_not_utf_8_is_a_sentence(fake_worker, tmp_path):
    fake_worker("")
    with pytest.raises(JobError, match=r"There is no clip at .*caf\?\.mp4"):
        import_job.prepare(tmp_path / "caf\udce9.mp4", {})


def test_a_clip_that_cannot_be_looked_at_is_a_sentence(fake_worker, clip, monkeypatch, tmp_path):
    fake_worker("")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as locked:
        locked.setattr(Path, "is_file", refuse)
        with pytest.raises(RuntimeError, match=r"some clip\.mp4 may not be read: Permission denied"):
            bpy.ops.wham.import_video(filepath=str(clip))
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(JobError, match=r"There is no clip at walk\.mp4"):
        import_job.prepare(Path("walk.mp4"), {})


def test_a_job_of_another_version_is_shown_and_runs_again(fake_worker, clip, jobs, motion_path):
    """Its unknown options are dropped, and those of another type or range are the default ones."""
    fake_worker(DELIVER.format(motion=str(motion_path)))
    bpy.ops.wham.import_video(filepath=str(clip), start_frame=20)
    (record,) = job_record.scan(jobs)
    record.options |= {
        "clip_start": "first", "clip_end": None, "start_frame": 2**40, "quality": "PERFECT", "refine": 1,
        "smooth": 1e300, "gender": 3, "person": 1, "rig": None, "focal_length_mm": True, "future": "yes",
        "camera": "STATIC", "fps": "CLIP",
    }  # fmt: skip
    record.save()
    import_job.jobs.all = []
    found = import_job.jobs.find(record.name)
    assert found
    usable = import_job.usable_options(found)
    assert usable.items() >= {"camera": "STATIC", "fps": "CLIP", "target": "NEW"}.items()
    assert not usable.keys() & {
        "clip_start", "clip_end", "start_frame", "quality", "refine", "smooth", "gender", "person", "rig", "future",
        "focal_length_mm",
    }  # fmt: skip
    drawn: list[tuple] = []
    draw_job(Layout(drawn), found)
    assert ("operator", "wham.discard_job") in [call[:2] for call in drawn]
    fake_worker("print(arguments)\n" + DELIVER.format(motion=str(motion_path)))
    assert bpy.ops.wham.import_job(job=found.name) == {"FINISHED"}
    assert bpy.ops.wham.resume_job(job=found.name) == {"FINISHED"}
    (record,) = job_record.scan(jobs)
    assert record.status is Status.IMPORTED
    assert (record.options["clip_start"], record.options["camera"]) == (1, "STATIC")
    assert "future" not in record.options


def test_missing_clip_and_missing_worker_are_sentences(tmp_path, clip, monkeypatch):
    monkeypatch.setenv("WHAM_WORKER_PYTHON", str(tmp_path / "no python"))
    with pytest.raises(RuntimeError, match=r"There is no clip at .*none\.mp4"):
        bpy.ops.wham.import_video(filepath=str(tmp_path / "none.mp4"))
    with pytest.raises(RuntimeError, match=r"There is no Python at .*no python"):
        bpy.ops.wham.import_video(filepath=str(clip))
    monkeypatch.delenv("WHAM_WORKER_PYTHON")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match="not installed yet"):
        bpy.ops.wham.import_video(filepath=str(clip))


def test_window_shows_progress_and_then_a_character(fake_worker, queue, motion_path, clip):
    fake_worker(
        "say(protocol.Warn('It is dark.'))\nsay(protocol.Progress('detect', 115, 230, 0.25, 95.0))\n"
        "print('a live line\\nINFO: made by a library', flush=True)\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n".replace("'go'", repr(str(clip) + ".go"))
        + DELIVER.format(motion=str(motion_path))
    )
    work = queue()
    queue.until(lambda: job_queue.progress and job_queue.job and job_queue.job.last_line)
    drawn: list[tuple] = []
    ui_text.draw_progress(Layout(drawn))
    assert ("progress", "25%, 1:35 left") in drawn
    assert ("label", "Detecting people: 115 of 230") in drawn
    assert ("label", "a live line") in drawn
    (record,) = job_record.scan(work.record.folder.parent)
    assert record == work.record  # on disk as in memory
    assert record.status is Status.RUNNING
    assert "dance" not in bpy.data.collections
    Path(f"{clip}.go").touch()
    queue.to_end()
    assert "dance" in bpy.data.collections
    assert work.record.status is Status.IMPORTED
    assert work.record.warnings == ["It is dark."]


def test_jobs_wait_for_their_turn_and_lie_side_by_side(fake_worker, queue, motion_path, clip, tmp_path):
    other = shutil.copy(clip, tmp_path / "other.mp4")
    fake_worker(
        "assert not os.path.exists('busy'); open('busy', 'x').close(); time.sleep(0.2); os.remove('busy')\n".replace(
            "'busy'", repr(str(tmp_path / "busy"))
        )
        + DELIVER.format(motion=str(motion_path))
    )
    works = [queue(), queue(other), queue(clip_start=3)]
    with pytest.raises(JobError, match="imported already"):
        queue()
    queue.until(lambda: job_queue.running)
    on_disk = {record.name: record.status for record in job_record.scan(works[0].record.folder.parent)}
    assert [on_disk[work.name] for work in works] == [Status.RUNNING, Status.QUEUED, Status.QUEUED]
    job_queue.cancel(works[2])
    queue.to_end()
    assert [work.record.status for work in works] == [Status.IMPORTED, Status.IMPORTED, Status.CANCELLED]
    first, second = bpy.data.collections["dance"], bpy.data.collections["dance.001"]
    assert not set(first.objects) & set(second.objects)
    actions = {o.animation_data.action for c in (first, second) for o in c.objects if o.type == "ARMATURE"}
    assert len(actions) == 2


def test_an_import_is_one_undo_step(fake_worker, queue, motion_path, clip):
    fake_worker(DELIVER.format(motion=str(motion_path)))
    bpy.ops.ed.undo_push(message="before")
    queue()
    queue.to_end()
    assert "dance" in bpy.data.collections
    assert character.people_by_job(bpy.context.scene).keys() == {import_job.jobs.all[0].name}
    bpy.ops.ed.undo()
    assert not character.people_by_job(bpy.context.scene)  # by which the panel says that it is not imported
    assert not bpy.data.collections
    assert not bpy.data.actions
    bpy.ops.ed.redo()
    assert {o.type for o in bpy.data.collections["dance"].objects} == {"ARMATURE", "MESH", "CAMERA"}


@pytest.mark.parametrize("cancels", [False, True])
def test_window_waits_for_object_mode(fake_worker, queue, motion_path, clip, cancels):
    fake_worker(DELIVER.format(motion=str(motion_path)))
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    work = queue()
    queue.until(lambda: work.record.status is Status.DONE)
    for _ in range(3):
        job_queue._on_timer()
    assert bpy.context.mode == "EDIT_MESH"
    assert import_job.blocked(bpy.context.window_manager.windows[0]) == "ready: go to Object Mode"
    if cancels:
        bpy.ops.wham.discard_job(job=work.name)
    bpy.ops.object.mode_set(mode="OBJECT")
    queue.to_end()
    assert ("dance" in bpy.data.collections) == (not cancels)


def test_a_job_outlives_the_file_and_enters_no_other(fake_worker, queue, motion_path, clip):
    fake_worker(
        "say(protocol.Progress('detect', 1, 2, 0.5))\nwhile not os.path.exists('go'): time.sleep(0.01)\n".replace(
            "'go'", repr(str(clip) + ".go")
        )
        + DELIVER.format(motion=str(motion_path))
    )
    work = queue()
    queue.until(lambda: job_queue.progress)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    Path(f"{clip}.go").touch()
    queue.to_end()
    assert work.record.status is Status.DONE
    assert not bpy.data.collections
    assert bpy.ops.wham.import_job(job=work.name) == {"FINISHED"}  # as the panel offers
    assert "dance" in bpy.data.collections


def test_cancel_ends_a_worker_that_has_much_to_do(fake_worker, queue, clip):
    fake_worker("say(protocol.Progress('detect', 1, 2, 0.5))\ntime.sleep(60)\n")
    work = queue()
    queue.until(lambda: job_queue.progress)
    assert bpy.ops.wham.cancel() == {"FINISHED"}
    queue.to_end()
    assert work.record.status is Status.CANCELLED
    assert work.record.error == ""
    assert not bpy.ops.wham.cancel.poll()
    assert not bpy.data.collections


def test_another_person_is_made_once_and_then_at_hand(fake_worker, clip, jobs, motion_path):
    fake_worker(
        f"open({str(clip) + '.runs'!r}, 'a').write(arguments[arguments.index('--person') + 1] + ' ')\n"
        "say(protocol.People([protocol.FoundPerson(1, 1, 230, 230, 0.6), "
        "protocol.FoundPerson(2, 5, 90, 86, 0.25, 'person-2.png')]))\n" + DELIVER.format(motion=str(motion_path))
    )
    bpy.ops.wham.import_video(filepath=str(clip))
    (record,) = job_record.scan(jobs)
    assert [person.id for person in record.people] == [1, 2]
    for person in ("2", "1", "2", "ALL"):
        assert bpy.ops.wham.import_person(job=record.name, person=person) == {"FINISHED"}
    assert Path(f"{clip}.runs").read_text() == "MAIN 2 ALL "
    assert len(bpy.data.collections) == 5
    bpy.ops.wham.import_video(filepath=str(clip), focal_length_mm=50)  # another motion: what was there is out of date
    (record,) = job_record.scan(jobs)
    assert set(record.results) == {"1"}


def test_a_click_on_a_person_takes_the_options_of_the_panel(fake_worker, clip, jobs, motion_path, monkeypatch):
    fake_worker(
        f"open({str(clip) + '.runs'!r}, 'a').write(' '.join(arguments) + chr(10))\n"
        + DELIVER.format(motion=str(motion_path))
    )
    bpy.ops.wham.import_video(filepath=str(clip), start_frame=5, clip_end=40)
    (record,) = job_record.scan(jobs)
    monkeypatch.setattr(operators_of_jobs, "from_window", lambda operator: True)  # bpy as a module has no window
    settings = bpy.context.scene.wham
    settings.start_frame, settings.person = 30, "ALL"
    assert bpy.ops.wham.import_person(job=record.name, person="1") == {"FINISHED"}  # no option of the motion changed
    assert len(Path(f"{clip}.runs").read_text().splitlines()) == 1
    frames = [each.wham_motion.first_frame for each in bpy.data.objects if each.type == "ARMATURE"]
    assert frames == [5, 30]
    settings.camera = "STATIC"
    assert bpy.ops.wham.import_person(job=record.name, person="1") == {"FINISHED"}
    last = Path(f"{clip}.runs").read_text().splitlines()[-1]
    assert "--camera static" in last and "--end 40" in last and "--person 1 " in last


def _film_anew(clip):
    """Exchange the clip for another of the same name, size and modification time."""
    before = Path(clip).stat()
    content = Path(clip).read_bytes()
    time.sleep(0.02)  # file systems keep change times of a few milliseconds
    Path(clip).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))
    now = Path(clip).stat()
    assert (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_the_results_of_a_clip_are_not_used_for_another_of_the_same_name(fake_worker, clip, jobs, motion_path):
    fake_worker(
        f"open({str(clip) + '.runs'!r}, 'a').write(arguments[arguments.index('--person') + 1] + ' ')\n"
        + DELIVER.format(motion=str(motion_path))
    )
    bpy.ops.wham.import_video(filepath=str(clip), person="2")
    bpy.ops.wham.import_video(filepath=str(clip))
    (record,) = job_record.scan(jobs)
    assert set(record.results) == {"1", "2"}
    assert bpy.ops.wham.import_person(job=record.name, person="2") == {"FINISHED"}
    _film_anew(clip)
    assert bpy.ops.wham.import_person(job=record.name, person="2") == {"FINISHED"}
    assert Path(f"{clip}.runs").read_text() == "2 MAIN 2 "
    (record,) = job_record.scan(jobs)
    assert set(record.results) == {"2"}


def test_results_of_other_weights_are_not_used(fake_worker, clip, jobs, motion_path):
    fake_worker(DELIVER.format(motion=str(motion_path)))
    bpy.ops.wham.import_video(filepath=str(clip), person="2")
    library = settings.library()
    library.folder.mkdir(parents=True, exist_ok=True)
    (library.folder / "library.json").write_text('{"yolo": {"path": "yolo.pt", "size": 4, "modified": 0}}', "utf-8")
    bpy.ops.wham.import_video(filepath=str(clip), person="1")
    (record,) = job_record.scan(jobs)
    assert set(record.results) == {"1"}
    weights = library.folder / "yolo.pt"
    for content in (b"some", b"othe"):  # of the same size and time
        time.sleep(0.02)
        weights.write_bytes(content)
        os.utime(weights, ns=(0, 0))
        before = set(record.results)
        bpy.ops.wham.import_video(filepath=str(clip), person="3" if before == {"1"} else "1")
        (record,) = job_record.scan(jobs)
        assert not before & set(record.results)


def test_the_motion_of_a_clip_is_not_shown_with_another_film(fake_worker, queue, clip, motion_path, monkeypatch):
    fake_worker("say(protocol.Clip('ab' * 32))\n" + DELIVER.format(motion=str(motion_path)))
    work = queue()
    with monkeypatch.context() as waiting:
        waiting.setattr(import_job, "blocked", lambda window: "not yet")
        queue.until(lambda: work.result)
    assert work.record.clip_sha256 == "ab" * 32
    _film_anew(clip)
    assert bpy.ops.wham.import_job(job=work.name) == {"FINISHED"}
    assert any("was changed after its motion was made" in warning for warning in work.record.warnings)
    (camera,) = bpy.data.cameras
    assert not camera.background_images
    assert len(bpy.data.collections) == 1


def test_jobs_that_are_gone_or_in_hand_are_refused_with_a_sentence(fake_worker, queue, clip):
    fake_worker("time.sleep(60)\n")
    work = queue()
    queue.until(lambda: job_queue.running)
    for verb in (bpy.ops.wham.resume_job, bpy.ops.wham.discard_job):
        with pytest.raises(RuntimeError, match=r"imported already|is being imported"):
            verb(job=work.name)
    with pytest.raises(RuntimeError, match="has no motion yet"):
        bpy.ops.wham.import_job(job=work.name)
    with pytest.raises(RuntimeError, match="is being imported"):
        bpy.ops.wham.import_person(job=work.name, person="2")
    with pytest.raises(RuntimeError, match=r"There is no job '\.\./secret'"):
        bpy.ops.wham.discard_job(job="../secret")
    with pytest.raises(RuntimeError, match="A job is running"):
        bpy.ops.wham.remove_worker()


def test_discarded_jobs_are_gone_from_the_disk(fake_worker, clip, jobs, motion_path):
    fake_worker(DELIVER.format(motion=str(motion_path)))
    bpy.ops.wham.import_video(filepath=str(clip))
    bpy.ops.wham.import_video(filepath=str(clip), clip_start=2)
    first, second = job_record.scan(jobs)
    assert bpy.ops.wham.discard_job(job=first.name) == {"FINISHED"}
    assert job_record.scan(jobs) == [second]
    assert bpy.ops.wham.clean_jobs() == {"FINISHED"}
    assert not [path for path in jobs.iterdir() if path.is_dir()]
