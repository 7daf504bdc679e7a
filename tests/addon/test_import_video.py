"""`import_video` with a stand-in for the worker: blocking as in a script, and step by step as from a window."""

import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest

from tests.addon.conftest import CLIP
from wham_blender.addon.operators import background, import_motion
from wham_blender.addon.operators.import_video import WHAM_OT_import_video

DELIVER = "shutil.copy({motion!r}, arguments[2]); say(protocol.Done(arguments[2]))\n"


@pytest.fixture
def clip(tmp_path):
    return shutil.copy(CLIP, tmp_path / "some clip.mp4")


@pytest.fixture
def jobs(tmp_path):
    return tmp_path / "data" / "wham_blender" / "jobs"


@pytest.fixture
def from_window():
    """The operator's own methods on a plain object: bpy as a module has no event loop that would call them."""

    class FromWindow(background.JobOperator):
        start, finish, _clip = (vars(WHAM_OT_import_video)[name] for name in ("start", "finish", "_clip"))
        needs_object_mode = WHAM_OT_import_video.needs_object_mode
        person, quality, device, clip_start, clip_end, focal_length_mm = "MAIN", "AUTO", "AUTO", 1, 0, 0.0
        start_frame, fps = 1, "CLIP"
        options = SimpleNamespace(is_invoke=False)

        def __init__(self, clip):
            self.filepath, self.reports = str(clip), []
            background.WhenIdle.running = self.start(bpy.context)
            state = bpy.context.window_manager.wham_job
            state.running, state.cancel = True, False

        def report(self, kind, text):
            self.reports.append((kind, text))

        def until(self, condition, event="TIMER"):
            deadline = time.monotonic() + 20
            status = {"PASS_THROUGH"}
            while not condition(status):
                assert time.monotonic() < deadline
                assert status == {"PASS_THROUGH"}
                status = self.modal(bpy.context, SimpleNamespace(type=event))
                time.sleep(0.01)
            return status

    yield FromWindow
    background.stop_all()
    bpy.context.window_manager.wham_job.running = False


def ended(status):
    return status != {"PASS_THROUGH"}


def test_script_blocks_and_gets_a_character_and_its_clip(fake_worker, motion_path, clip, jobs):
    fake_worker("say(protocol.Progress('watch', 1, 2, 0.5))\n" + DELIVER.format(motion=str(motion_path)))
    assert bpy.ops.wham.import_video(filepath=str(clip), fps="CLIP", start_frame=7) == {"FINISHED"}
    collection = bpy.data.collections["dance"]
    assert {o.type for o in collection.objects} == {"ARMATURE", "MESH", "CAMERA"}
    assert bpy.context.scene.camera.data.background_images[0].clip.name == "some clip.mp4"
    assert bpy.context.scene.frame_start == 7
    assert not bpy.context.window_manager.wham_job.running
    assert bpy.ops.wham.import_video.poll()
    assert not list(jobs.rglob("*.npz"))  # the worker's file has served its purpose
    assert motion_path.is_file()


def test_dropped_clips_become_characters_with_the_panels_options(fake_worker, motion_path, clip):
    fake_worker(DELIVER.format(motion=str(motion_path)))
    bpy.context.scene.wham.start_frame = 20
    shutil.copy(clip, clip.with_name("B.MOV"))
    files = [{"name": clip.name}, {"name": "notes.txt"}, {"name": "B.MOV"}]
    assert bpy.ops.wham.drop_clips(directory=str(clip.parent), files=files) == {"FINISHED"}
    assert len(bpy.data.collections) == 2
    assert {movie.name for movie in bpy.data.movieclips} == {clip.name, "B.MOV"}
    armatures = [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]
    assert [armature.wham_motion.first_frame for armature in armatures] == [20, 20]
    with pytest.raises(RuntimeError, match=r"No clip was dropped. Choose files that end in \.mp4"):
        bpy.ops.wham.drop_clips(directory=str(clip.parent), files=files[1:2])


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
            focal_length_mm=28,
        )
    said = str(caught.value)
    folder = next(jobs.iterdir())
    assert folder.name.startswith("some clip-")
    for words in (
        f"{clip} -o {folder}/motion-{os.getpid()}.npz --json --resume {folder}",
        "--person 2", "--quality draft", "--device cpu",
        "--start 5", "--end 90", "--focal-length 28.0",
    ):  # fmt: skip
        assert words in said


@pytest.mark.parametrize(
    ("worker", "sentence"),
    [
        ("say(protocol.Failed('No person found in some clip.mp4.'))", "No person found in some clip.mp4."),
        ("1 / 0", "exit code 1"),
        ("say(protocol.Done('/nowhere/motion.npz'))", "There is no file motion.npz"),
    ],
)
def test_what_went_wrong_is_raised_and_shown(fake_worker, clip, worker, sentence):
    fake_worker(worker)
    with pytest.raises(RuntimeError, match=sentence):
        bpy.ops.wham.import_video(filepath=str(clip))
    state = bpy.context.window_manager.wham_job
    assert sentence in state.error
    assert Path(state.log).is_file()
    assert not state.running
    assert bpy.ops.wham.import_video.poll()


@pytest.mark.parametrize(("text", "reason"), [("one\ntwo", "one"), ("", "ArithmeticError")])
def test_a_fault_while_importing_is_a_sentence_and_its_traceback_in_the_log(
    fake_worker, clip, motion_path, monkeypatch, text, reason
):
    def fault(*_):
        raise ArithmeticError(text)

    monkeypatch.setattr(import_motion, "_build_character", fault)
    fake_worker(DELIVER.format(motion=str(motion_path)))
    with pytest.raises(RuntimeError, match=f"could not be used: {reason}. The log says"):
        bpy.ops.wham.import_video(filepath=str(clip))
    state = bpy.context.window_manager.wham_job
    assert f"could not be used: {reason}." in state.error
    assert "Traceback" in Path(state.log).read_text("utf-8")


@pytest.mark.parametrize("person", ["0", "-1", "the tall one", "", "1.5"])
def test_a_person_that_is_no_choice_is_a_sentence(fake_worker, clip, jobs, person):
    fake_worker("")
    with pytest.raises(RuntimeError, match="Type MAIN, ALL or a number from 1"):
        bpy.ops.wham.import_video(filepath=str(clip), person=person)
    assert not jobs.exists()
    assert bpy.context.window_manager.wham_job.log == ""


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


def test_window_shows_progress_and_passes_events_through(fake_worker, from_window, motion_path, clip):
    fake_worker(
        "say(protocol.Warn('It is dark.'))\nsay(protocol.Progress('watch', 115, 230, 0.25, 95.0))\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n".replace("'go'", repr(str(clip) + ".go"))
        + DELIVER.format(motion=str(motion_path))
    )
    operator, state = from_window(clip), bpy.context.window_manager.wham_job
    assert operator.modal(bpy.context, SimpleNamespace(type="MOUSEMOVE")) == {"PASS_THROUGH"}
    operator.until(lambda _: state.fraction > 0)
    assert state.text == "watch 115 of 230, 1:35 left"
    assert ({"WARNING"}, "It is dark.") in operator.reports
    assert "dance" not in bpy.data.collections
    (clip.parent / (clip.name + ".go")).touch()
    assert operator.until(ended) == {"FINISHED"}
    assert "dance" in bpy.data.collections
    assert not state.running


def test_people_found_are_told(fake_worker, from_window, clip):
    fake_worker(
        "say(protocol.People([{'id': 1, 'first_frame': 1, 'last_frame': 230, 'frames': 230, 'height': 0.6}, "
        "{'id': 2, 'first_frame': 5, 'last_frame': 90, 'frames': 86, 'height': 0.25}]))\n"
        "say(protocol.Failed('Enough.'))\n"
    )
    operator, line = (
        from_window(clip),
        ("2 people found: 1 (frames 1 to 230, 60% of the picture high), 2 (frames 5 to 90, 25% of the picture high)"),
    )
    assert operator.until(ended) == {"CANCELLED"}
    assert operator.reports == [({"INFO"}, line), ({"ERROR"}, "Enough.")]
    assert bpy.context.window_manager.wham_job.people == line


@pytest.mark.parametrize("cancels", [False, True])
def test_window_waits_for_object_mode(fake_worker, from_window, motion_path, clip, cancels):
    fake_worker(DELIVER.format(motion=str(motion_path)))
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    operator, state = from_window(clip), bpy.context.window_manager.wham_job
    operator.until(lambda _: state.text == "ready: go to Object Mode")
    assert bpy.context.mode == "EDIT_MESH"
    if cancels:
        bpy.ops.wham.cancel()
    else:
        bpy.ops.object.mode_set(mode="OBJECT")
    assert operator.until(ended) == {"CANCELLED" if cancels else "FINISHED"}
    assert ("dance" in bpy.data.collections) == (not cancels)


def test_failure_is_told_in_edit_mode_too(fake_worker, from_window, clip):
    fake_worker("say(protocol.Failed('No person found.'))\n")
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    assert from_window(clip).until(ended) == {"CANCELLED"}
    assert bpy.context.mode == "EDIT_MESH"


def test_window_cancels(fake_worker, from_window, clip):
    fake_worker("say(protocol.Progress('watch', 1, 2, 0.5))\ntime.sleep(60)\n")
    operator, state = from_window(clip), bpy.context.window_manager.wham_job
    operator.until(lambda _: state.text.startswith("watch"))
    assert bpy.ops.wham.cancel() == {"FINISHED"}
    assert operator.until(ended) == {"CANCELLED"}
    assert operator.reports == [({"INFO"}, "Cancelled")]
    assert state.error == ""
    assert not bpy.ops.wham.cancel.poll()
    assert not bpy.data.collections


def test_closing_the_window_ends_the_worker(fake_worker, from_window, clip):
    fake_worker("say(protocol.Progress('watch', 1, 2, 0.5))\ntime.sleep(60)\n")
    operator = from_window(clip)
    job = background.WhenIdle.running
    assert job is not None
    operator.cancel(bpy.context)
    assert job._process.poll() is not None
    assert background.WhenIdle.running is None


def test_second_job_is_refused(fake_worker, from_window, clip):
    fake_worker("time.sleep(60)\n")
    from_window(clip)
    with pytest.raises(RuntimeError, match="A job is running"):
        bpy.ops.wham.import_video(filepath=str(clip))
