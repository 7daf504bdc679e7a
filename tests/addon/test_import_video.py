"""`import_video` with a stand-in for the worker: blocking as in a script, and tick by tick as from a window."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path, PureWindowsPath

import bpy  # first: it brings addon_utils

# isort: split
import addon_utils
import pytest

from tests.addon.conftest import CLIP
from tests.addon.test_registration import Layout
from wham_blender.addon import fault_report, imports, job_record, layouts
from wham_blender.addon.job import JobError
from wham_blender.addon.job_record import Status
from wham_blender.addon.operators import import_motion
from wham_blender.addon.properties import VideoOptions, option_names
from wham_blender.addon.runner import runner

DELIVER = "shutil.copy({motion!r}, arguments[2]); say(protocol.Done(arguments[2]))\n"


@pytest.fixture
def clip(tmp_path):
    return shutil.copy(CLIP, tmp_path / "some clip.mp4")


@pytest.fixture
def jobs(tmp_path):
    return tmp_path / "data" / "wham_blender" / "jobs"


@pytest.fixture
def queue(clip):
    """What a click in a window does, and its timer by hand: bpy as a module has no event loop that would call it."""

    class Queue:
        def __call__(self, path=clip, **changes):
            properties = bpy.ops.wham.import_video.get_rna_type().properties
            options = {name: properties[name].default for name in option_names(VideoOptions)}
            work = imports.prepare(Path(path), options | {"fps": "CLIP"} | changes)
            runner.add(work)
            return work

        def until(self, condition):
            deadline = time.monotonic() + 30
            while not condition():
                assert time.monotonic() < deadline, (runner.running, runner.waiting, imports.jobs.all)
                runner._on_timer()
                time.sleep(0.01)

        def to_end(self):
            self.until(lambda: not runner.busy and not runner.closing)

    yield Queue()
    runner.stop()
    imports.jobs.all = []


def test_script_blocks_and_gets_a_character_and_its_clip(fake_worker, motion_path, clip, jobs, capfd):
    fake_worker(
        "say(protocol.Progress('watch', 1, 2, 0.5))\nsay(protocol.Warn('It is dark.'))\ntime.sleep(0.2)\n"
        + DELIVER.format(motion=str(motion_path))
    )
    assert bpy.ops.wham.import_video(filepath=str(clip), fps="CLIP", start_frame=7) == {"FINISHED"}
    collection = bpy.data.collections["dance"]
    assert {o.type for o in collection.objects} == {"ARMATURE", "MESH", "CAMERA"}
    assert bpy.context.scene.camera.data.background_images[0].clip.name == "some clip.mp4"
    assert bpy.context.scene.frame_start == 7
    said = capfd.readouterr().out
    assert "some clip.mp4: watch" in said
    assert "Warning: It is dark." in said
    assert not runner.busy
    (record,) = job_record.scan(jobs)
    assert record.status is Status.IMPORTED


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
            camera="MOVING",
            actor_height=1.8,
            static_anchor=False,
            gender="FEMALE",
            refine=True,
            smooth=0.2,
        )
    said = str(caught.value)
    folder = next(jobs.iterdir())
    assert folder.name.startswith("some clip-")
    for words in (
        f"{clip} -o {folder}/motion-2.npz --json --resume {folder}",
        "--person 2", "--quality draft", "--device cpu", "--camera moving", "--actor-height 1.8", "--no-anchor",
        "--start 5", "--end 90", "--focal-length 28", "--refine --smooth 0.2", "--gender female",
    ):  # fmt: skip
        assert words in said


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
    assert not runner.busy


@pytest.mark.parametrize(("text", "reason"), [("one\ntwo", "one"), ("", "ArithmeticError")])
def test_a_fault_while_importing_is_a_sentence_and_its_traceback_in_the_log(
    fake_worker, clip, jobs, motion_path, monkeypatch, text, reason
):
    def fault(*_):
        raise ArithmeticError(text)

    monkeypatch.setattr(import_motion, "_build_character", fault)
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
        "say(protocol.Warn('It is dark.'))\nsay(protocol.Progress('watch', 115, 230, 0.25, 95.0))\n"
        "print('a live line\\nINFO: made by a library', flush=True)\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n".replace("'go'", repr(str(clip) + ".go"))
        + DELIVER.format(motion=str(motion_path))
    )
    work = queue()
    queue.until(lambda: runner.progress and runner.job and runner.job.last_line)
    drawn: list[tuple] = []
    layouts.draw_progress(Layout(drawn))
    assert ("progress", "25%, 1:35 left") in drawn
    assert ("label", "Finding people: 115 of 230") in drawn
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
    queue.until(lambda: runner.running)
    on_disk = {record.name: record.status for record in job_record.scan(works[0].record.folder.parent)}
    assert [on_disk[work.name] for work in works] == [Status.RUNNING, Status.QUEUED, Status.QUEUED]
    runner.cancel(works[2])
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
    bpy.ops.ed.undo()
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
        runner._on_timer()
    assert bpy.context.mode == "EDIT_MESH"
    assert imports.blocked(bpy.context.window_manager.windows[0]) == "ready: go to Object Mode"
    if cancels:
        bpy.ops.wham.discard_job(job=work.name)
    bpy.ops.object.mode_set(mode="OBJECT")
    queue.to_end()
    assert ("dance" in bpy.data.collections) == (not cancels)


def test_a_job_outlives_the_file_and_enters_no_other(fake_worker, queue, motion_path, clip):
    fake_worker(
        "say(protocol.Progress('watch', 1, 2, 0.5))\nwhile not os.path.exists('go'): time.sleep(0.01)\n".replace(
            "'go'", repr(str(clip) + ".go")
        )
        + DELIVER.format(motion=str(motion_path))
    )
    work = queue()
    queue.until(lambda: runner.progress)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    Path(f"{clip}.go").touch()
    queue.to_end()
    assert work.record.status is Status.DONE
    assert not bpy.data.collections
    assert bpy.ops.wham.import_job(job=work.name) == {"FINISHED"}  # as the panel offers
    assert "dance" in bpy.data.collections


def test_cancel_is_done_within_a_second(fake_worker, queue, clip):
    fake_worker("say(protocol.Progress('watch', 1, 2, 0.5))\ntime.sleep(60)\n")
    work = queue()
    queue.until(lambda: runner.progress)
    begun = time.monotonic()
    assert bpy.ops.wham.cancel() == {"FINISHED"}
    queue.to_end()
    assert time.monotonic() - begun < 2  # on a machine with much else to do
    assert work.record.status is Status.CANCELLED
    assert work.record.error == ""
    assert not bpy.ops.wham.cancel.poll()
    assert not bpy.data.collections


def test_ctrl_c_in_a_script_ends_the_worker(fake_worker, queue, clip, monkeypatch):
    fake_worker("say(protocol.Progress('watch', 1, 2, 0.5))\ntime.sleep(60)\n")
    work = queue()
    runner.waiting.remove(work)
    tick = runner.tick

    def interrupted():
        tick()
        if runner.progress and not work.cancelled:
            raise KeyboardInterrupt

    monkeypatch.setattr(runner, "tick", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run_to_end(work)
    assert work.record.status is Status.CANCELLED
    assert not runner.busy
    assert not runner.closing


def test_disabling_the_add_on_ends_the_worker_and_the_job_is_offered_again(fake_worker, queue, clip, motion_path):
    fake_worker("say(protocol.Progress('watch', 1, 2, 0.5))\ntime.sleep(60)\n")
    work = queue(person="2")
    queue.until(lambda: runner.progress)
    job = runner.job
    addon_utils.disable("wham_blender", default_set=True)
    assert job is not None
    assert job.result is not None or job._process.poll() is not None
    addon_utils.enable("wham_blender", default_set=True)
    imports.jobs.refresh()
    (record,) = imports.jobs.all
    assert imports.is_interrupted(record)
    assert record.options["person"] == "2"
    fake_worker("assert arguments[arguments.index('--person') + 1] == '2'\n" + DELIVER.format(motion=str(motion_path)))
    assert bpy.ops.wham.resume_job(job=work.name) == {"FINISHED"}
    assert "dance" in bpy.data.collections


def test_another_person_is_made_once_and_then_at_hand(fake_worker, clip, jobs, motion_path):
    fake_worker(
        f"open({str(clip) + '.runs'!r}, 'a').write(arguments[arguments.index('--person') + 1] + ' ')\n"
        "say(protocol.People([{'id': 1, 'first_frame': 1, 'last_frame': 230, 'frames': 230, 'height': 0.6}, "
        "{'id': 2, 'first_frame': 5, 'last_frame': 90, 'frames': 86, 'height': 0.25, 'picture': 'person-2.png'}]))\n"
        + DELIVER.format(motion=str(motion_path))
    )
    bpy.ops.wham.import_video(filepath=str(clip))
    (record,) = job_record.scan(jobs)
    assert [person["id"] for person in record.people] == [1, 2]
    for person in ("2", "1", "2", "ALL"):
        assert bpy.ops.wham.import_person(job=record.name, person=person) == {"FINISHED"}
    assert Path(f"{clip}.runs").read_text() == "MAIN 2 ALL "
    assert len(bpy.data.collections) == 5
    bpy.ops.wham.import_video(filepath=str(clip), focal_length_mm=50)  # another motion: what was there is out of date
    (record,) = job_record.scan(jobs)
    assert set(record.results) == {"1"}


def test_jobs_that_are_gone_or_in_hand_are_refused_with_a_sentence(fake_worker, queue, clip):
    fake_worker("time.sleep(60)\n")
    work = queue()
    queue.until(lambda: runner.running)
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


def test_the_folder_deleted_under_a_job_is_a_sentence(fake_worker, queue, clip):
    fake_worker(
        "shutil.rmtree(os.path.dirname(arguments[2]))\nsay(protocol.People([{'id': 1}]))\nprint('noise')\n1 / 0\n"
    )
    work = queue()
    queue.to_end()
    assert work.record.status is Status.FAILED
    assert "was deleted while it ran. Import the clip again." in work.record.error
    assert bpy.ops.wham.discard_job(job=work.name) == {"FINISHED"}


def test_a_full_disk_is_a_sentence_before_and_no_end_while_a_job_runs(
    fake_worker, queue, clip, motion_path, monkeypatch
):
    def full(self, *_):
        raise OSError(28, "No space left on device")

    fake_worker(DELIVER.format(motion=str(motion_path)))
    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_text", full)
        with pytest.raises(RuntimeError, match=r"No space left on device\. Make space, or choose"):
            bpy.ops.wham.import_video(filepath=str(clip))
    work = queue()  # the lock was given back
    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_text", full)
        queue.to_end()
    assert work.record.status is Status.IMPORTED
    assert "dance" in bpy.data.collections


def test_a_report_names_no_folders_and_no_people(fake_worker, clip, jobs, capfd):
    fake_worker(
        "say(protocol.Environment('Python 3.11, torch 2.14.1; NVIDIA H100'))\n"
        "print('File \"/home/ann/My Clients/secret film/x.py\", line 1', arguments[0], os.path.expanduser('~'))\n"
        "say(protocol.Failed('No person found in some clip.mp4.'))"
    )
    with pytest.raises(RuntimeError):
        bpy.ops.wham.import_video(filepath=str(clip))
    (record,) = job_record.scan(jobs)
    text = fault_report.of_job(record, f"Blender {bpy.app.version_string}", None)
    for words in (
        bpy.app.version_string, "torch 2.14.1; NVIDIA H100", "quality=AUTO", "No person found in some clip.mp4.",
        'File "<folder>/x.py", line 1 <folder>/some clip.mp4', "Import Video as Motion 0.",
    ):  # fmt: skip
        assert words in text
    for words in ("ann", "Clients", "secret", str(Path.home()), str(clip.parent)):
        assert words not in text
    capfd.readouterr()
    assert bpy.ops.wham.copy_report(job=record.name) == {"FINISHED"}
    assert "Error: No person found in some clip.mp4." in capfd.readouterr().out  # here is no clipboard


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (r"C:\Users\Ann Lee\AppData\x.py failed", "<folder>/x.py failed"),
        (r'File "C:\Work Drive\Client\run.py", line 3', 'File "<folder>/run.py", line 3'),
        (r"at D:\client\film.mp4: gone", "at <folder>/film.mp4: gone"),
        ("see //server/client/film.mov.", "see <folder>/film.mov."),
        ("Ann Lee on 3/4 of the frames, and/or 60 km/h", "<user> on 3/4 of the frames, and/or 60 km/h"),
        ("https://pytorch.org/docs is fine", "https://pytorch.org/docs is fine"),
    ],
)
def test_what_is_private_is_taken_out(text, clean, monkeypatch):
    monkeypatch.setattr(fault_report.Path, "home", lambda: PureWindowsPath(r"C:\Users\Ann Lee"))
    assert fault_report.scrub(text) == clean


TROUBLE = {
    "a million lines": (
        "line = ('noise ' * 10 + '\\n') * 1000\nfor n in range(1000): "
        "sys.stdout.write(line); say(protocol.Progress('watch', n, 1000, n / 1000))\nsay(protocol.Failed('Enough.'))\n",
        r"Enough\.",
    ),
    "thousands of messages": (
        "people = [{'id': n, 'first_frame': 1, 'last_frame': 9} for n in range(50)]\n"
        "for n in range(1500): say(protocol.Warn(f'Warning {n}.')); say(protocol.People(people))\n"
        "say(protocol.Failed('Enough.'))\n",
        r"Enough\.",
    ),
    "one line without end": (
        "for n in range(300): sys.stdout.write('{\"type\": ' * 1000)\nsay(protocol.Failed('Lost.'))\n",
        r"ended without a result \(exit code 0\)",
    ),
    "killed in the middle of a message": (
        'sys.stdout.write(\'{"type": "Failed", "te\'); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)\n',
        r"ended by SIGKILL, perhaps for want of memory\. Import the clip again",
    ),
    "its folder deleted": (
        "shutil.rmtree(os.path.dirname(arguments[2]))\nsay(protocol.People([{'id': 1}]))\nprint('noise')\n1 / 0\n",
        r"was deleted while it ran\. Import the clip again",
    ),
    "the disk full": (
        "try: open('/dev/full', 'w').write('x' * 9999)\nexcept OSError as error: say(protocol.Failed("
        "f'Cannot write to here: {error.strerror}.'))\n",
        r"Cannot write to here: No space left on device\.",
    ),
}


@pytest.mark.parametrize(("worker", "sentence"), TROUBLE.values(), ids=TROUBLE)
def test_trouble_holds_no_tick_up_and_is_told(fake_worker, queue, clip, worker, sentence):
    if "/dev/full" in worker and not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    fake_worker(worker)
    work = queue()
    worst = 0.0
    while runner.busy:
        begun = time.thread_time()  # this thread's own: what else the machine does is not Blender's waiting
        runner._on_timer()
        worst = max(worst, time.thread_time() - begun)
        time.sleep(0.005)
    print(f"worst tick {1000 * worst:.1f} ms")
    assert worst < 0.05
    assert work.record.status is Status.FAILED
    assert re.search(sentence, work.record.error)
    assert not work.record.log.exists() or work.record.log.stat().st_size < 8 << 20


def test_a_job_outlives_a_blender_that_is_killed(fake_worker, clip, jobs, motion_path):
    """Its worker ends with it, and the next Blender offers the job again."""
    fake_worker("say(protocol.Progress('watch', 1, 2, 0.5))\nsys.stdin.read()\n")
    blender = (
        "import bpy, addon_utils, os, signal, sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "addon_utils.enable('wham_blender', default_set=True)\n"
        "from pathlib import Path\nfrom wham_blender.addon import imports\n"
        "from wham_blender.addon.properties import VideoOptions, option_names\n"
        "from wham_blender.addon.runner import runner\n"
        "known = bpy.ops.wham.import_video.get_rna_type().properties\n"
        "options = {name: known[name].default for name in option_names(VideoOptions)}\n"
        f"runner.add(imports.prepare(Path({str(clip)!r}), options | dict(person='2')))\n"
        "while not runner.progress: runner.tick(); time.sleep(0.02)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", blender], check=False, capture_output=True, timeout=120)
    imports.jobs.refresh()
    (record,) = imports.jobs.all
    assert record.status is Status.RUNNING
    assert imports.is_interrupted(record)
    fake_worker("assert arguments[arguments.index('--person') + 1] == '2'\n" + DELIVER.format(motion=str(motion_path)))
    assert bpy.ops.wham.resume_job(job=record.name) == {"FINISHED"}
    assert "dance" in bpy.data.collections
    imports.jobs.all = []
