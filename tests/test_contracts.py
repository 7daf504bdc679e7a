"""The contracts that worker and add-on share: skeleton, motion, protocol and weights."""

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from wham_blender import motion, protocol, skeleton, weights
from wham_blender.motion import Motion, MotionFileError


def make_motion(frames: int = 7, first_frame: int = 1, seed: int = 0) -> Motion:
    random = np.random.default_rng(seed)
    frame = np.arange(first_frame, first_frame + frames)
    return Motion(
        poses=random.normal(size=(frames, 72)),
        trans=random.normal(size=(frames, 3)),
        betas=random.normal(size=10),
        mocap_framerate=29.97,
        contacts=random.random((frames, 4)),
        confidence=random.random(frames),
        visible=random.random(frames) > 0.3,
        camera_R=Rotation.random(frames, random_state=seed).as_matrix(),
        camera_t=random.normal(size=(frames, 3)),
        camera_K=np.array([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]]),
        rest_joints=random.normal(size=(24, 3)),
        frame=frame,
        time=(frame - 1) / 29.97,
        keypoints=random.random((frames, 17, 3)),
        meta={"clip": "Späti.mp4", "size": [640, 480]},
    )


def with_hands(person: Motion) -> Motion:
    random = np.random.default_rng(3)
    poses, confidence = random.normal(size=(len(person), 30, 3)), random.random((len(person), 2))
    return replace(person, hand_poses=poses, hand_confidence=confidence)


def assert_same(one: Motion, other: Motion) -> None:
    for item in fields(Motion):
        if item.name == "meta":
            assert {"format_version": motion.FORMAT_VERSION, **one.meta} == other.meta
        else:
            np.testing.assert_array_equal(getattr(one, item.name), getattr(other, item.name), err_msg=item.name)


class TestSkeleton:
    def test_counts_and_order(self):
        assert len(skeleton.JOINT_NAMES) == len(skeleton.PARENTS) == 24
        assert len(skeleton.COCO_NAMES) == 17
        assert all(parent < joint for joint, parent in enumerate(skeleton.PARENTS))

    def test_fingers_hang_on_the_wrists(self):
        names, parents = skeleton.ALL_JOINT_NAMES, skeleton.ALL_PARENTS
        assert len(names) == len(parents) == 54
        assert names[24:27] == ("left_index1", "left_index2", "left_index3")
        assert names[53] == "right_thumb3"
        assert [names[parents[joint]] for joint in (24, 25, 26, 53, 51)] == [
            "left_wrist", "left_index1", "left_index2", "right_thumb2", "right_wrist",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("joint", "chain"),
        [("left_hand", ["left_wrist", "left_elbow", "left_shoulder", "left_collar", "spine3"]),
         ("right_foot", ["right_ankle", "right_knee", "right_hip", "pelvis"]),
         ("head", ["neck", "spine3", "spine2", "spine1", "pelvis"])],
    )  # fmt: skip
    def test_chains_lead_home(self, joint, chain):
        at = skeleton.JOINT_NAMES.index(joint)
        for name in chain:
            at = skeleton.PARENTS[at]
            assert skeleton.JOINT_NAMES[at] == name

    @pytest.mark.parametrize(
        ("names", "mirror"),
        [(skeleton.JOINT_NAMES, skeleton.JOINT_MIRROR),
         (skeleton.HAND_JOINT_NAMES, skeleton.HAND_MIRROR),
         (skeleton.COCO_NAMES, skeleton.COCO_MIRROR),
         (skeleton.FOOT_POINTS, skeleton.FOOT_MIRROR)],
    )  # fmt: skip
    def test_mirror_swaps_sides_and_is_its_own_inverse(self, names, mirror):
        np.testing.assert_array_equal(mirror[mirror], np.arange(len(names)))
        for index, name in enumerate(names):
            counterpart = names[mirror[index]]
            if "_" in name:
                assert {name.split("_")[0], counterpart.split("_")[0]} == {"left", "right"}
                assert name.split("_")[1] == counterpart.split("_")[1]
            else:
                assert counterpart == name


class TestKinematics:
    def test_rotations_agree_with_scipy(self):
        vectors = np.random.default_rng(1).normal(size=(500, 3)) * 2
        vectors[:3] = [0, 0, 0], [1e-9, 0, 0], [0, np.pi, 0]
        np.testing.assert_allclose(
            motion.rotation_matrices(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12
        )

    def test_rest_pose_stands_at_the_translation(self):
        person = make_motion()
        person.poses[:] = 0
        expected = person.rest_joints + person.trans[:, None]
        np.testing.assert_allclose(person.joints(), expected, atol=1e-6)

    def test_turning_a_parent_moves_its_children_only(self):
        person = make_motion(1)
        person.poses[:] = 0
        straight = person.joints()[0]
        knee, ankle, foot = (skeleton.JOINT_NAMES.index(f"left_{name}") for name in ("knee", "ankle", "foot"))
        person.poses[0, 3 * knee : 3 * knee + 3] = 0.5, -0.2, 0.1
        bent = person.joints()[0]
        turn = Rotation.from_rotvec([0.5, -0.2, 0.1])
        for joint in (ankle, foot):
            expected = turn.apply(straight[joint] - straight[knee]) + straight[knee]
            np.testing.assert_allclose(bent[joint], expected, atol=1e-6)
        others = [joint for joint in range(24) if joint not in (ankle, foot)]
        np.testing.assert_allclose(bent[others], straight[others], atol=1e-9)


class TestPlanted:
    @pytest.mark.parametrize(
        ("probabilities", "down"),
        [([0.5, 0.59, 0.61, 0.5, 0.41, 0.59, 0.39, 0.59, 0.2], "001111000"), ([0.55, 0.5, 0.3, 0.6], "1100")],
    )
    def test_noise_between_the_thresholds_is_no_switch(self, probabilities, down):
        contacts = np.repeat(np.array(probabilities)[:, None], 4, 1)
        contacts[:, 0] = 0.9
        planted = motion.planted(contacts)
        assert planted[:, 0].all()
        assert planted[:, 2].tolist() == [digit == "1" for digit in down]

    @pytest.mark.parametrize(
        ("settings", "down"),
        [
            ({}, "1100111011"),
            ({"shortest": 3}, "0000111000"),
            ({"above": 0.8, "below": 0.1}, "1111111110"),
            ({"above": 0.8, "below": 0.8}, "1100110000"),
        ],
    )
    def test_thresholds_and_the_shortest_contact_are_the_callers(self, settings, down):
        contacts = np.array([0.9, 0.9, 0.2, 0.3, 0.9, 0.9, 0.7, 0.2, 0.7, 0.0])
        contacts[-1] = 0.05 if settings.get("below") == 0.1 else 0.7
        planted = motion.planted(np.repeat(contacts[:, None], 4, 1), **settings)
        assert planted[:, 1].tolist() == [digit == "1" for digit in down]


class TestMotionFile:
    def test_one_person_comes_back(self, tmp_path):
        person = make_motion()
        motion.save(tmp_path / "new folder" / "motion.npz", [person])
        (loaded,) = motion.load(tmp_path / "new folder" / "motion.npz")
        assert_same(person, loaded)
        assert loaded.visible.dtype == bool
        assert loaded.time.dtype == np.float64

    def test_amass_tools_can_read_it(self, tmp_path):
        motion.save(tmp_path / "motion.npz", [make_motion(5)])
        with np.load(tmp_path / "motion.npz", allow_pickle=False) as data:
            assert data["poses"].shape == (5, 72)
            assert data["trans"].shape == (5, 3)
            assert data["betas"].shape == (10,)
            assert str(data["gender"]) == "neutral"
            assert float(data["mocap_framerate"]) == pytest.approx(29.97)

    def test_motions_without_hands_have_none(self, tmp_path):
        motion.save(tmp_path / "motion.npz", [make_motion()])
        with np.load(tmp_path / "motion.npz") as data:
            assert not {"hand_poses", "hand_confidence"} & {*data.files}
        (loaded,) = motion.load(tmp_path / "motion.npz")
        assert loaded.hand_poses is None
        assert loaded.hand_confidence is None

    @pytest.mark.parametrize("people", [1, 2])
    def test_hands_come_back_of_those_who_have_them(self, tmp_path, people):
        motions = [with_hands(make_motion()), make_motion(seed=1)][:people]
        motion.save(tmp_path / "motion.npz", motions)
        loaded = motion.load(tmp_path / "motion.npz")
        for name in ("hand_poses", "hand_confidence"):
            values = getattr(loaded[0], name)
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values, getattr(motions[0], name))
        assert all(each.hand_poses is None for each in loaded[1:])

    @pytest.mark.parametrize("people", [1, 2])
    def test_fingers_are_written_and_read_as_amass_has_them(self, tmp_path, people):
        motions = [with_hands(make_motion()), make_motion(seed=1)][:people]
        motion.save(tmp_path / "motion.npz", motions, smplh=True)
        with np.load(tmp_path / "motion.npz") as data:
            poses = data["poses" if people == 1 else "p0/poses"]
            assert poses.shape == (7, 156)
            np.testing.assert_array_equal(poses[:, :66], motions[0].poses[:, :66])
            np.testing.assert_array_equal(poses[:, 66:].reshape(7, 30, 3), motions[0].hand_poses)
        loaded = motion.load(tmp_path / "motion.npz")
        np.testing.assert_array_equal(loaded[0].hand_poses, motions[0].hand_poses)
        np.testing.assert_array_equal(loaded[0].hand_confidence, motions[0].hand_confidence)
        np.testing.assert_array_equal(loaded[0].poses, motions[0].poses * (np.arange(72) < 66))
        assert all(each.hand_poses is not None and not each.hand_poses.any() for each in loaded[1:])

    def test_amass_fingers_without_a_confidence_are_certain(self, tmp_path):
        values = motion._arrays(with_hands(make_motion()), smplh=True)
        del values["hand_confidence"]
        np.savez(tmp_path / "motion.npz", allow_pickle=False, **values)
        (loaded,) = motion.load(tmp_path / "motion.npz")
        np.testing.assert_array_equal(loaded.hand_confidence, np.ones((7, 2)))

    def test_several_people_share_the_cameras(self, tmp_path):
        first, second = make_motion(6, first_frame=1, seed=0), make_motion(5, first_frame=4, seed=1)
        second.camera_R[:3], second.camera_t[:3] = first.camera_R[3:], first.camera_t[3:]
        motion.save(tmp_path / "motion.npz", [first, second])
        with np.load(tmp_path / "motion.npz") as data:
            assert data["camera_R"].shape == (8, 3, 3)
            assert "p0/camera_R" not in data.files
        for expected, loaded in zip((first, second), motion.load(tmp_path / "motion.npz"), strict=True):
            assert_same(expected, loaded)

    def test_nothing_half_written_stays(self, tmp_path, monkeypatch):
        target = tmp_path / "motion.npz"
        motion.save(target, [make_motion()])
        before = target.read_bytes()

        def disk_full(stream, *_arguments, **_arrays):
            stream.write(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "savez_compressed", disk_full)
        with pytest.raises(MotionFileError, match="No space left"):
            motion.save(target, [make_motion(9)])
        assert target.read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["motion.npz"]

    def test_a_folder_that_cannot_be_made_is_a_sentence(self, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(MotionFileError, match=r"Cannot write motion\.npz .* Choose a folder"):
            motion.save(tmp_path / "file" / "motion.npz", [make_motion()])

    @pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
    def test_what_is_no_motion_is_a_sentence(self, tmp_path, content):
        (tmp_path / "motion.npz").write_bytes(content)
        with pytest.raises(MotionFileError, match="not a motion file, or it is damaged"):
            motion.load(tmp_path / "motion.npz")

    def test_a_missing_file_is_a_sentence(self, tmp_path):
        with pytest.raises(MotionFileError, match=r"no file motion\.npz"):
            motion.load(tmp_path / "motion.npz")

    def test_another_archive_and_a_newer_version_are_sentences(self, tmp_path):
        np.savez(tmp_path / "other.npz", numbers=np.arange(3))
        with pytest.raises(MotionFileError, match="lacks something a motion file needs"):
            motion.load(tmp_path / "other.npz")
        person = make_motion()
        person.meta["format_version"] = motion.FORMAT_VERSION + 1
        motion.save(tmp_path / "newer.npz", [person])
        with pytest.raises(MotionFileError, match="newer than this add-on reads"):
            motion.load(tmp_path / "newer.npz")

    @pytest.mark.parametrize("damage", ["other bytes", "unknown compression"])
    def test_damage_inside_the_zip_is_a_sentence(self, tmp_path, damage):
        path = tmp_path / "motion.npz"
        motion.save(path, [make_motion()])
        content = bytearray(path.read_bytes())
        if damage == "other bytes":
            content[60:400] = bytes(340)
        else:
            for signature, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
                place = content.index(signature) + at
                content[place : place + 2] = (99).to_bytes(2, "little")
        path.write_bytes(content)
        with pytest.raises(MotionFileError, match="not a motion file, or it is damaged"):
            motion.load(path)

    @pytest.mark.parametrize("meta", ["[1]", "3", "null"])
    def test_meta_that_is_no_object_is_a_sentence(self, tmp_path, meta):
        motion.save(tmp_path / "motion.npz", [make_motion()])
        with np.load(tmp_path / "motion.npz") as data:
            arrays = dict(data)
        np.savez(tmp_path / "motion.npz", **arrays | {"meta": np.asarray(meta)})
        with pytest.raises(MotionFileError, match="meta is no JSON object"):
            motion.load(tmp_path / "motion.npz")

    def test_no_frames_are_refused(self):
        with pytest.raises(ValueError, match="no frames"):
            make_motion(0)

    @pytest.mark.parametrize("rate", [0.0, float("nan"), float("inf")])
    def test_a_rate_that_is_none_is_refused(self, rate):
        values = {item.name: getattr(make_motion(), item.name) for item in fields(Motion)}
        with pytest.raises(ValueError, match="mocap_framerate"):
            Motion(**values | {"mocap_framerate": rate})

    def test_pickles_are_refused(self, tmp_path):
        np.savez(tmp_path / "pickle.npz", poses=np.array([{"a": 1}], dtype=object))
        with pytest.raises(MotionFileError):
            motion.load(tmp_path / "pickle.npz")

    @pytest.mark.parametrize(
        ("name", "value"),
        [("trans", np.zeros((6, 3))), ("betas", np.zeros(16)), ("poses", np.full((7, 72), np.nan)),
         ("camera_K", np.eye(4))],
    )  # fmt: skip
    def test_wrong_shapes_and_numbers_are_refused(self, name, value):
        values = {item.name: getattr(make_motion(), item.name) for item in fields(Motion)} | {name: value}
        with pytest.raises(ValueError, match=name):
            Motion(**values)


class TestProtocol:
    @pytest.mark.parametrize(
        "message",
        [protocol.Progress("lift", 3, 10, 0.25, 1.5), protocol.Progress("decode", 0, 0, 0.0), protocol.Log("näh"),
         protocol.Warn("line one\nline two"),
         protocol.People([protocol.FoundPerson(1, 1, 20, 20, 0.5, "person-1.png")]),
         protocol.Environment("Python 3.11; no CUDA card"),
         protocol.Failed("No person found in clip.mp4."), protocol.Done("/tmp/motion.npz")],
    )  # fmt: skip
    def test_a_message_is_one_line_and_comes_back(self, message):
        line = protocol.encode(message)
        assert "\n" not in line
        assert json.loads(line)["type"] == type(message).__name__
        assert protocol.decode(line + "\r\n") == message

    @pytest.mark.parametrize(
        "line",
        ["", "Loading model…", '{"type": "Progress", "stage": "li', '{"type": "Nonsense"}', '{"text": "no type"}',
         '{"type": "Log", "text": "a", "extra": 1}', "[1, 2]", "3", '{"type": ["Log"]}'],
    )  # fmt: skip
    def test_anything_else_is_a_log_line(self, line):
        assert protocol.decode(line + "\n") == protocol.Log(line)


class TestWeights:
    @pytest.fixture
    def base(self, tmp_path: Path) -> Path:
        (tmp_path / "net.npz").write_bytes(b"weights")
        (tmp_path / "manifest.toml").write_text(
            '[[file]]\nrole = "lifter"\nname = "net.npz"\nlicence = "GPL-3.0-or-later"\nsource = "trained here"\n'
            f'sha256 = "{hashlib.sha256(b"weights").hexdigest()}"\n'
        )
        return tmp_path

    def test_a_good_file_is_found(self, base):
        entry = weights.find("lifter", base)
        assert (entry.path, entry.licence) == (base / "net.npz", "GPL-3.0-or-later")

    def test_a_changed_file_is_refused_even_after_a_good_look(self, base):
        weights.find("lifter", base)
        (base / "net.npz").write_bytes(b"other weights")
        with pytest.raises(weights.WeightsError, match=r"net\.npz is damaged"):
            weights.find("lifter", base)

    def test_what_is_missing_is_a_sentence(self, base):
        with pytest.raises(weights.WeightsError, match="No weight file for 'wham'"):
            weights.find("wham", base)
        (base / "net.npz").unlink()
        with pytest.raises(weights.WeightsError, match=r"net\.npz is missing"):
            weights.find("lifter", base)

    @pytest.mark.parametrize("text", ["", "[[file]]\nrole = 1", "not toml ["])
    def test_a_damaged_list_is_a_sentence(self, base, text):
        (base / "manifest.toml").write_text(text)
        with pytest.raises(weights.WeightsError, match="cannot be read"):
            weights.manifest(base)

    def test_every_shipped_file_is_whole_and_has_its_licence(self):
        for role in weights.manifest():
            entry = weights.find(role)
            assert entry.licence
            assert entry.source
