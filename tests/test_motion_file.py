"""Motion files from outside: a wrong value or a hostile archive gives a sentence, and costs neither memory nor time."""

import io
import json
import os
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from tests.test_contracts import assert_same, make_motion
from wham_blender import limits, motion
from wham_blender.motion import MotionFileError


def arrays(**changes):
    """The arrays of a file of seven frames, with changes; None leaves one out."""
    values = motion._arrays(make_motion()) | {name: np.asarray(value) for name, value in changes.items()}
    return {name: value for name, value in values.items() if value.dtype != object}


def with_meta(**changes):
    return json.dumps({"clip": "walk.mp4", "size": [640, 480]} | changes)


def changed(name, *index, to):
    """The array ``name`` with one element changed."""
    value = np.array(arrays()[name], float)
    value[index] = to
    return {name: value}


def refusal(path):
    """What is said of a file that cannot be loaded."""
    with pytest.raises(MotionFileError) as caught:
        motion.load(path)
    assert caught.value.code.startswith("motion-file-")
    assert path.name in str(caught.value)
    assert str(caught.value).endswith(".")
    return str(caught.value)


HANDS = {"hand_poses": np.full((7, 30, 3), 0.2), "hand_confidence": np.full((7, 2), 0.5)}
WRONG = {
    "fingers of another hand": ({"hand_poses": np.zeros((7, 32, 3))}, "hand_poses has shape (7, 32, 3)"),
    "an endless finger": ({"hand_poses": np.full((7, 30, 3), np.inf)}, "hand_poses holds numbers that are not finite"),
    "a hand seen five times": (HANDS | {"hand_confidence": np.full((7, 2), 5.0)}, "hand_confidence has values from 5"),
    "one hand of two": (HANDS | {"hand_confidence": np.zeros((7, 1))}, "hand_confidence has shape (7, 1)"),
    "confidence without hands": ({"hand_confidence": np.zeros((7, 2))}, "hand_confidence is there without hand_poses"),
    "text with fingers": ({"poses": np.full((7, 156), "1")}, "poses holds no numbers"),
    "equal frames": (changed("frame", 3, to=3), "frame does not rise: 3 is followed by 3"),
    "falling frames": ({"frame": np.arange(7, 0, -1)}, "frame does not rise"),
    "a NaN frame": (changed("frame", 2, to=np.nan), "frame holds numbers that are not finite"),
    "half a frame": (changed("frame", 2, to=2.5), "frame holds fractions"),
    "frame 0": ({"frame": np.arange(7)}, "frame has values from 0 to 6"),
    "a huge frame": (changed("frame", 6, to=2.0**40), "frame has values from 1 to 1.09"),
    "falling times": ({"time": np.arange(7, 0, -1)}, "time does not rise: 7 is followed by 6 in row 1"),
    "equal times": ({"time": np.zeros(7)}, "time does not rise"),
    "an endless time": (changed("time", 6, to=np.inf), "time holds numbers that are not finite"),
    "a contact of 5": (changed("contacts", 2, 1, to=5), "contacts has values from"),
    "a confidence of -1": (changed("confidence", 2, to=-1), "confidence has values from -1"),
    "visible 2": ({"visible": np.full(7, 2)}, "visible has values from 2 to 2"),
    "zero cameras": ({"camera_R": np.zeros((7, 3, 3))}, "camera_R holds a matrix that is no rotation, in row 0"),
    "a mirrored camera": ({"camera_R": np.tile(np.diag([1, 1, -1]), (7, 1, 1))}, "camera_R holds a matrix that is no"),
    "no focal length": (changed("camera_K", 0, 0, to=0), "camera_K is no camera matrix"),
    "a negative focal length": (changed("camera_K", 1, 1, to=-900), "camera_K is no camera matrix"),
    "a camera on Mars": (changed("camera_t", 0, 0, to=2e11), "camera_t has values from"),
    "a person on Mars": (changed("trans", 0, 0, to=2e11), "trans has values from"),
    "a pose without end": (changed("poses", 0, 0, to=1e30), "poses has values from"),
    "a float64 that float32 lacks": (changed("keypoints", 0, 0, 0, to=1e300), "keypoints has values from"),
    "limbs without length": ({"rest_joints": np.zeros((24, 3))}, "rest_joints has limbs of 0 to 0 metres"),
    "an impossible shape": (changed("betas", 0, to=1e6), "betas has values from"),
    "another gender": ({"gender": "robot"}, "gender is not one of neutral, male, female"),
    "no frame rate": ({"mocap_framerate": 0.0}, "mocap_framerate is 0.0"),
    "an endless frame rate": ({"mocap_framerate": np.inf}, "mocap_framerate is inf"),
    "a thousand rates": ({"mocap_framerate": np.ones(1000)}, "holds what no motion has"),
    "text for poses": ({"poses": np.full((7, 72), "1")}, "poses holds no numbers"),
    "no rows": ({"poses": np.zeros((0, 72))}, "it has no frames"),
    "poses without rows": ({"poses": 3.0}, "poses has shape"),
    "deep meta": ({"meta": "[" * 30_000}, "holds what no motion has"),
    "endless meta": ({"meta": with_meta(fps=1).replace("1", "1e999")}, "is too large"),
    "NaN in meta": ({"meta": with_meta(fps=float("nan"))}, "NaN is no number"),
    "half a character in meta": ({"meta": with_meta(clip="\ud800.mp4")}, "meta.clip is"),
    "a null character": ({"meta": with_meta(clip="a\0.mp4")}, "meta holds a null character"),
    "a number for a clip": ({"meta": with_meta(clip=7)}, "meta.clip is 7, not a text"),
    "a size of one": ({"meta": with_meta(size=[640])}, "meta.size is not a width and a height"),
    "a size of 0": ({"meta": with_meta(size=[0, 480])}, "meta.size"),
    "a text for weights": ({"meta": with_meta(weights={"wham": "w"})}, "meta.weights.wham is 'w', not an object"),
    "a version that is no number": ({"meta": with_meta(format_version="2")}, "meta.format_version is '2'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_values_are_refused_by_name(tmp_path, case):
    changes, words = WRONG[case]
    np.savez(tmp_path / "odd.npz", **arrays(**changes))
    assert words in refusal(tmp_path / "odd.npz")


def test_float_noise_is_no_error(tmp_path):
    """As earlier versions wrote it."""
    person = make_motion()
    person.contacts[0], person.confidence[0] = 1 + 1e-6, 1.04
    person.camera_R += 1e-6
    motion.save(tmp_path / "old.npz", [person])
    (loaded,) = motion.load(tmp_path / "old.npz")
    assert loaded.contacts.max() == loaded.confidence.max() == 1


def test_the_writer_refuses_what_the_reader_does():
    values = vars(make_motion())
    for name, value in (("contacts", np.full((7, 4), 5)), ("frame", np.ones(7)), ("camera_R", np.zeros((7, 3, 3)))):
        with pytest.raises(ValueError, match=name):
            motion.Motion(**values | {name: value})


def test_a_clip_whose_name_is_not_unicode_can_be_found_again(tmp_path):
    person = make_motion()
    person.meta["clip"] = "caf\udce9.mp4"  # as Python reads a name in Latin-1
    person.meta["weights"] = {"wham": {"name": "caf\udce9.pth"}}
    motion.save(tmp_path / "motion.npz", [person])
    meta = motion.load(tmp_path / "motion.npz")[0].meta
    assert meta["clip"] == "caf\udce9.mp4"
    assert meta["weights"] == {"wham": {"name": "caf?.pth"}}


def test_a_motion_of_too_many_people_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MOTION_BYTES", 5000)
    with pytest.raises(MotionFileError, match="The motion of 2 people takes 0 MB, more than") as caught:
        motion.save(tmp_path / "motion.npz", [make_motion(), make_motion()])
    assert caught.value.code == "motion-too-long"
    assert not list(tmp_path.iterdir())


def two_people(path, **changes):
    people = [make_motion(6), make_motion(5, first_frame=4, seed=1)]
    people[1].camera_R[:3], people[1].camera_t[:3] = people[0].camera_R[3:], people[0].camera_t[3:]
    motion.save(path, people)
    with np.load(path) as data:
        values = dict(data)
    np.savez(path, **values | changes)
    return people


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"camera_frame": np.arange(101, 109)}, "camera_frame lacks frames of person 1"),
        ({"camera_frame": np.array([1, 2, 3, 4, 4, 6, 7, 8])}, "camera_frame does not rise: 4 is followed by 4"),
        ({"camera_frame": np.arange(1, 8)}, "camera_frame has another length than the camera"),
        ({"camera_frame": np.zeros(0, int), "camera_R": np.zeros((0, 3, 3)), "camera_t": np.zeros((0, 3))},
         "camera_frame has another length"),
        ({"p1/frame": np.full(5, np.nan)}, "camera_frame lacks frames of person 2"),
        ({"p1/contacts": np.full((5, 4), -3)}, "contacts has values from -3"),
    ],
)  # fmt: skip
def test_the_camera_of_several_people_must_fit_them(tmp_path, changes, words):
    path = tmp_path / "two.npz"
    for expected, loaded in zip(two_people(path), motion.load(path), strict=True):
        assert_same(expected, loaded)
    two_people(path, **changes)
    assert words in refusal(path)


def test_more_people_than_any_clip_shows_are_refused(tmp_path, monkeypatch):
    two_people(tmp_path / "two.npz")
    monkeypatch.setattr(limits, "PEOPLE", 1)
    assert "it has more than 1 people" in refusal(tmp_path / "two.npz")


def test_files_of_other_tools_lack_something(tmp_path):
    """AMASS's, whose text is of another kind than ours."""
    path = tmp_path / "amass.npz"
    np.savez(path, poses=np.zeros((3, 156)), trans=np.zeros((3, 3)), betas=np.zeros(16), gender=np.array(b"male"),
             mocap_framerate=120.0, dmpls=np.zeros((3, 8)))  # fmt: skip
    assert "amass.npz lacks something a motion file needs" in refusal(path)


def bomb(path, name):
    """A motion file, and 3 GB of zeros in 3 MB under that name."""
    np.savez(path, **arrays())
    if name == "poses":
        content = arrays()
        del content["poses"]
        np.savez(path, **content)
    rows = (3 << 30) // 288
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (rows, 72)})
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open(f"{name}.npy", "w", force_zip64=True) as stream,
    ):
        stream.write(header.getvalue())
        left, block = 288 * rows, bytes(16 << 20)
        while left:
            left -= stream.write(block[: min(left, len(block))])


@pytest.mark.parametrize("name", ["nobody_asked", "poses"])
def test_a_bomb_costs_neither_memory_nor_time(tmp_path, name):
    path = tmp_path / "bomb.npz"
    bomb(path, name)
    assert path.stat().st_size < 4 << 20
    tracemalloc.start()
    begun = time.perf_counter()
    try:
        if name == "poses":
            assert "its arrays have 32" in refusal(path)
        else:
            assert len(motion.load(path)) == 1
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - begun < 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes among files")
def test_a_pipe_and_a_device_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    assert "it is not a regular file" in refusal(tmp_path / "pipe.npz")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    assert "it is not a regular file" in refusal(tmp_path / "zero.npz")


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(motion.archives, "names", refuse)
    assert "(Permission denied)" in refusal(tmp_path / "secret.npz")
