"""Image sequences and clips with names of any bytes, from the operator to the background of the camera."""

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
import pytest

from tests.addon.conftest import CLIP, DELIVER, make_motion
from tests.addon.test_registration import Layout
from wham_blender import motion as motion_file
from wham_blender.addon.jobs import import_job, job_record
from wham_blender.addon.operators.drop_clips import WHAM_FH_pictures, WHAM_OT_drop_clips
from wham_blender.addon.panels.jobs import draw_job
from wham_blender.addon.ui.options import draw_options
from wham_blender.addon.worker.process import JobError
from wham_blender.records import is_text

SAY_ARGUMENTS = "say(protocol.Failed(' | '.join(arguments)))\n"
ODD = [
    b"caf\xe9 '\" \n\x1b[2J \xe2\x80\xae.mp4",  # Latin-1, quotes, a line, terminal and direction codes
    b"-o *.mp4 ",
    "\U0001f600".encode() * 62 + b"abc.mp4",  # as long as names may be
    "שלום עולם 映画\u3000.mp4".encode(),
]
odd_names = pytest.mark.parametrize("name", [os.fsdecode(name) for name in ODD], ids=["bytes", "option", "long", "rtl"])
any_bytes = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")


def write_pictures(folder, numbers, name="shot_{:04}.png", size=(64, 48)):
    """Grey pictures, as Blender writes them."""
    folder.mkdir(exist_ok=True)
    image = bpy.data.images.new("picture", *size)
    image.file_format = "PNG"
    for number in numbers:
        image.filepath_raw = str(folder / name.format(number))
        image.save()
    bpy.data.images.remove(image)
    return folder


@pytest.fixture
def shot(tmp_path):
    return write_pictures(tmp_path / "shot", [96, 97, 99, 100])


def arguments_of(**options):
    with pytest.raises(RuntimeError) as caught:
        bpy.ops.wham.import_video(**options)
    return str(caught.value).removeprefix("Error: ").strip().split(" | ")


@pytest.mark.parametrize("chosen", ["", "shot_0096.png", "shot_0099.png", "shot_####.png", "shot_%04d.png"])
def test_a_folder_a_picture_and_a_pattern_are_one_job(fake_worker, shot, jobs, chosen):
    fake_worker(SAY_ARGUMENTS)
    said = arguments_of(filepath=str(shot / chosen), sequence_fps=12)
    assert said[0] == str(shot / "shot_0096.png")
    assert said[said.index("--fps") + 1] == "12"
    (record,) = job_record.scan(jobs)
    assert (record.title, record.name[:13], record.clip_state[0]) == (
        "shot_0096.png",
        "shot_0096-" + record.name[10:13],
        4,
    )


def test_the_rate_is_the_scene_s_unless_it_is_given_and_stays_the_job_s(fake_worker, shot, jobs):
    fake_worker(SAY_ARGUMENTS)
    render = bpy.context.scene.render
    render.fps, render.fps_base = 30, 1.001
    said = arguments_of(filepath=str(shot))
    rate = said[said.index("--fps") + 1]
    assert float(rate) == pytest.approx(30 / 1.001, rel=1e-7)
    (record,) = job_record.scan(jobs)
    assert import_job.results_are_valid(record)
    render.fps = 24
    with pytest.raises(RuntimeError) as caught:
        bpy.ops.wham.resume_job(job=record.name)
    assert f"--fps | {rate} |" in str(caught.value)
    assert job_record.scan(jobs)[0].results_key == record.results_key
    arguments_of(filepath=str(shot), sequence_fps=25)
    assert job_record.scan(jobs)[0].results_key != record.results_key


def test_a_video_is_given_no_rate(fake_worker, clip, jobs):
    fake_worker(SAY_ARGUMENTS)
    assert "--fps" not in arguments_of(filepath=str(clip), sequence_fps=12)
    key = job_record.scan(jobs)[0].results_key
    arguments_of(filepath=str(clip))
    assert job_record.scan(jobs)[0].results_key == key


def test_a_picture_that_is_changed_is_another_clip(fake_worker, shot, motion_path, jobs, capfd):
    fake_worker(DELIVER.format(motion=str(motion_path)))
    assert bpy.ops.wham.import_video(filepath=str(shot)) == {"FINISHED"}
    (record,) = job_record.scan(jobs)
    assert import_job.results_are_valid(record)
    shutil.copy(CLIP, shot / "shot_0099.png")
    assert not import_job.results_are_valid(record)
    bpy.ops.wham.import_job(job=record.name)
    assert "shot_0096.png was changed after its motion was made" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("names", "chosen", "code"),
    [(["a1.png"], "", "sequence-not-found"), ([], "a_##.png", "sequence-not-found"),
     (["a1.png", "a2.png", "b1.png", "b2.png"], "", "sequence-ambiguous"),
     (["a1.png", "a01.png"], "a1.png", "sequence-ambiguous"), ([], "a_1.png", "clip-not-found")],
)  # fmt: skip
def test_what_is_no_sequence_is_a_sentence(fake_worker, tmp_path, jobs, names, chosen, code):
    fake_worker("")
    folder = tmp_path / "shot"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    with pytest.raises(JobError) as refused:
        import_job.prepare(folder / chosen, {})
    assert refused.value.code == code
    with pytest.raises(RuntimeError, match=r"Choose|Check|Move"):
        bpy.ops.wham.import_video(filepath=str(folder / chosen))
    assert not jobs.exists()


def test_a_rate_at_which_nobody_can_be_followed_is_a_sentence(fake_worker, shot):
    fake_worker("")
    with pytest.raises(
        RuntimeError, match=r"shot_0096\.png cannot have 0\.5 frames a second\. Set Sequence Frame Rate"
    ):
        bpy.ops.wham.import_video(filepath=str(shot), sequence_fps=0.5)


def test_the_rate_is_shown_for_sequences_only(shot, clip):
    def shows(path):
        drawn: list[tuple] = []
        draw_options(Layout(drawn), bpy.context.scene.wham, str(path))
        return any("sequence_fps" in str(call[1]) for call in drawn)

    assert [shows(path) for path in (shot, shot / "shot_0099.png", shot / "shot_####.png")] == [True] * 3
    assert [shows(path) for path in (clip, "", shot / "gone")] == [False] * 3


def films():
    """The films that cameras show."""
    return [image for image in bpy.data.images if image.source == "MOVIE"]


def test_dropped_pictures_become_one_clip(fake_worker, motion_path, shot, clip, jobs):
    fake_worker(DELIVER.format(motion=str(motion_path)))
    write_pictures(shot, [1, 2, 3], "b{}.png")
    shutil.copy(clip, shot / "film.mp4")
    files = [{"name": name} for name in sorted(path.name for path in shot.iterdir())]
    assert bpy.ops.wham.drop_clips(directory=str(shot), files=files) == {"FINISHED"}
    assert [image.name for image in films()] == ["film.mp4"]  # pictures have copies, which the worker makes
    assert {record.title for record in job_record.scan(jobs)} >= {"film.mp4"}
    assert len(job_record.scan(jobs)) == 3
    for region, accepted in (("UI", True), ("WINDOW", False)):  # in the view, Blender makes an empty of a picture
        context = SimpleNamespace(area=SimpleNamespace(type="VIEW_3D"), region=SimpleNamespace(type=region))
        assert WHAM_FH_pictures.poll_drop(context) is accepted


@any_bytes
@odd_names
def test_a_clip_may_have_any_name(fake_worker, motion_path, jobs, tmp_path, name, capfd):
    folder = tmp_path / name
    folder.mkdir()
    clip = folder / name
    shutil.copy(CLIP, clip)
    fake_worker(
        "say(protocol.Warn(f'{arguments[0]} is dark.'))\n"
        f"assert os.fsencode(arguments[0]) == {os.fsencode(clip)!r}\n" + DELIVER.format(motion=str(motion_path))
    )
    bpy.context.scene.wham.filepath = str(clip)
    assert bpy.context.scene.wham.filepath == str(clip)
    assert bpy.ops.wham.import_video(filepath=bpy.context.scene.wham.filepath) == {"FINISHED"}
    (background,) = bpy.context.scene.camera.data.background_images
    assert background.image.filepath == str(clip)
    assert background.image.size[:] == (1768, 994)
    (record,) = job_record.scan(jobs)
    assert Path(record.clip) == clip
    drawn: list[tuple] = []
    draw_job(Layout(drawn), record)
    assert all(is_text(part) for call in drawn for part in call if isinstance(part, str))
    assert not set(record.title) & set("\n\x1b\u202e")
    assert bpy.ops.wham.import_person(job=record.name, person="1") == {"FINISHED"}
    assert bpy.ops.wham.copy_report(job=record.name) == {"FINISHED"}
    assert bpy.ops.wham.resume_job(job=record.name) == {"FINISHED"}
    assert len(films()) == 3
    assert "\x1b" not in capfd.readouterr().out
    dropped: Any = SimpleNamespace(directory=str(folder), files=[SimpleNamespace(name=name)])
    assert WHAM_OT_drop_clips.clips(dropped) == ([clip] if name.endswith(".mp4") else [])


@any_bytes
@odd_names
def test_a_motion_file_finds_a_clip_of_any_name(body, tmp_path, name):
    motion = make_motion(body)
    motion.meta["clip"] = name
    path = tmp_path / f"{name[:60]}.npz"
    motion_file.save(path, [motion])
    shutil.copy(CLIP, tmp_path / name)
    assert bpy.ops.wham.import_motion(filepath=str(path)) == {"FINISHED"}
    (film,) = films()
    assert film.filepath == str(tmp_path / name)
    (armature,) = [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]
    assert is_text(armature.name)
    assert not set(armature.name) & set("\n\x1b\u202e")
    assert armature.wham_motion.clip


def test_a_path_that_blender_would_cut_off_is_told(motion_path, tmp_path, capfd):
    folder = tmp_path.joinpath(*["d" * 250] * 4)
    folder.mkdir(parents=True)
    clip = shutil.copy(CLIP, folder / "dance.mp4")
    assert len(str(clip)) > 1023
    assert bpy.ops.wham.import_motion(filepath=str(motion_path), clip=str(clip)) == {"FINISHED"}
    assert not films()
    assert "The path of dance.mp4 is too long for Blender" in capfd.readouterr().out


@any_bytes
def test_an_image_sequence_may_have_any_name(fake_worker, motion_path, tmp_path, jobs):
    odd = os.fsdecode(b"caf\xe9 '\"\n ")
    folder = write_pictures(tmp_path / odd, [1, 2, 3], odd + "{}.png")
    assert len(list(folder.iterdir())) == 3
    fake_worker(DELIVER.format(motion=str(motion_path)))
    assert bpy.ops.wham.import_video(filepath=str(folder)) == {"FINISHED"}
    (record,) = job_record.scan(jobs)
    assert Path(record.clip) == folder / f"{odd}1.png"
    assert record.status == job_record.Status.IMPORTED
