"""Keyframes at the frames' own times, and the film behind the camera: which frame it shows, and where the body lies."""

import json
from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

from tests.addon.conftest import import_file, make_motion
from wham_blender import motion as motion_file
from wham_blender.addon.properties import placement_settings
from wham_blender.addon.scene import character, scene_settings
from wham_blender.addon.scene.action import ActionKeys
from wham_blender.animation import resampled
from wham_blender.motion import planted

CODED = Path(__file__).parents[1] / "clips" / "coded"  # tests/clips/coded.py
KNOWN = json.loads((CODED / "coded.json").read_text("utf-8"))
KNOWN["slow motion"] = KNOWN["30 fps"] | {
    "times": [time / 8 for time in KNOWN["30 fps"]["times"]], "fps": 240.0,
    "meta": KNOWN["30 fps"]["meta"] | {"speed": 8.0},
}  # fmt: skip
PELVIS = 'pose.bones["pelvis"].location'


def save(path, body, known, **meta):
    """The motion file of a clip that tests/clips/coded.py wrote."""
    person = make_motion(body, len(known["numbers"]))
    person.mocap_framerate, person.meta = known["fps"], known["meta"] | meta
    person.frame, person.time = np.array(known["numbers"]), np.array(known["times"])
    motion_file.save(path, [person])
    return person


def bring(folder, body, known, fps="CLIP", start=5, **meta):
    """Import the motion of such a clip, which lies beside it, with the copy that the worker made."""
    for name in (known["meta"]["clip"], known["meta"].get("film")):
        if name and not (folder / name).exists():
            (folder / name).symlink_to(CODED / name)
    person = save(folder / "motion.npz", body, known, **meta)
    assert bpy.ops.wham.import_motion(filepath=str(folder / "motion.npz"), fps=fps, start_frame=start) == {"FINISHED"}
    armature = next(obj for obj in bpy.data.objects if obj.type == "ARMATURE")
    return person, armature, next(obj for obj in bpy.data.objects if obj.wham_motion.take and obj.type == "CAMERA")


def scene_rate(fps=None, base=1.0):
    render = bpy.context.scene.render
    if fps:
        render.fps, render.fps_base = fps, base
    return render.fps / render.fps_base


class Projector:
    """Renders what an image shows, with Cycles, and reads the number of the frame off it."""

    def __init__(self, background, folder):
        self.path = str(folder / "seen.png")
        scene = self.scene = bpy.data.scenes.new("projector")
        scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False
        scene.render.resolution_x, scene.render.resolution_y = 80, 4
        scene.view_settings.view_transform = "Standard"
        camera = bpy.data.cameras.new("projector")
        camera.type, camera.ortho_scale = "ORTHO", 2
        mesh = bpy.data.meshes.new("screen")
        mesh.from_pydata([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], [], [(0, 1, 2, 3)])
        corners = mesh.uv_layers.new()
        for corner, place in zip(corners.uv, [(0, 0), (1, 0), (1, 1), (0, 1)], strict=True):
            corner.vector = place
        scene.camera = bpy.data.objects.new("projector", camera)
        scene.camera.location.z = 5
        screen = bpy.data.objects.new("screen", mesh)
        for obj in (scene.camera, screen):
            scene.collection.objects.link(obj)
        material = bpy.data.materials.new("screen")
        if bpy.app.version < (5, 0, 0):
            material.use_nodes = True
        mesh.materials.append(material)
        nodes, links = material.node_tree.nodes, material.node_tree.links
        nodes.clear()
        texture, emission, output = (
            nodes.new(f"ShaderNode{kind}") for kind in ("TexImage", "Emission", "OutputMaterial")
        )
        links.new(texture.outputs[0], emission.inputs[0])
        links.new(emission.outputs[0], output.inputs[0])
        texture.image, texture.interpolation, self.user = background.image, "Closest", texture.image_user
        for name in ("frame_duration", "frame_start", "use_auto_refresh", "use_cyclic"):
            setattr(self.user, name, getattr(background.image_user, name))

    def shows(self, frame, offset):
        self.scene.frame_set(frame)
        self.user.frame_offset = offset
        self.scene.render.filepath = self.path
        bpy.ops.render.render(write_still=True, scene=self.scene.name)
        seen = bpy.data.images.load(self.path)
        columns = np.array(seen.pixels[:]).reshape(4, 80, -1)[2, 5::10, 0]
        bpy.data.images.remove(seen)
        return sum(int(value > 0.4) << bit for bit, value in enumerate(columns))


@pytest.mark.parametrize("rate", ["CLIP", (24, 1.0), (25, 1.0), (30, 1.001), (30, 1.0), (60, 1.0)], ids=str)
@pytest.mark.parametrize("name", KNOWN)
def test_keyframes_are_at_their_frames_times(body, tmp_path, name, rate):
    if rate != "CLIP":
        scene_rate(*rate)
    person, armature, _ = bring(tmp_path, body, KNOWN[name], "CLIP" if rate == "CLIP" else "SCENE")
    frames = ActionKeys(armature).frames_of(PELVIS)
    assert len(frames) == len(person)
    assert frames[0] == 5
    error = (frames - frames[0]) / scene_rate() - (person.time - person.time[0])
    assert np.abs(error).max() < 0.0005
    if rate == "CLIP" and name in ("24 fps", "30 fps", "60 fps", "29.97 fps", "WebM", "trimmed", "turned"):
        assert (frames == np.round(frames)).all()
    if rate == "CLIP" and name == "slow motion":
        assert scene_rate() == 30


@pytest.mark.parametrize("rate", ["CLIP", (24, 1.0), (60, 1.0)], ids=str)
@pytest.mark.parametrize("name", KNOWN)
def test_the_film_shows_the_frame_of_the_motion(body, tmp_path, name, rate):
    if rate != "CLIP":
        scene_rate(*rate)
    _, armature, camera = bring(tmp_path, body, KNOWN[name], "CLIP" if rate == "CLIP" else "SCENE")
    frames = ActionKeys(armature).frames_of(PELVIS)
    (background,) = camera.data.background_images
    assert background.source == "IMAGE"
    assert camera.data.show_background_images
    projector, shown = Projector(background, tmp_path), np.array(KNOWN[name]["shown"])
    wrong = []
    for frame in np.unique(np.linspace(frames[0], frames[-1], 16).round().astype(int)):
        bpy.context.scene.frame_set(frame)
        evaluated = camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.background_images[0]
        seen = projector.shows(frame, evaluated.image_user.frame_offset)
        distance = np.abs(frames - frame)
        if seen not in shown[distance < distance.min() + 0.05]:  # the nearest keyframe's, or one as near
            wrong.append((frame, seen))
    assert not wrong


def test_the_film_follows_the_motion_to_another_frame_rate(body, tmp_path):
    scene_rate(24)
    _, armature, camera = bring(tmp_path, body, KNOWN["uneven"], "SCENE")
    bpy.context.view_layer.objects.active = armature
    assert bpy.ops.wham.match_scene() == {"FINISHED"}
    assert scene_rate() == round(scene_rate()) == round(armature.wham_motion.clip_rate)
    for row, frame in enumerate(ActionKeys(armature).frames_of(PELVIS)):
        bpy.context.scene.frame_set(int(frame), subframe=frame % 1)
        evaluated = camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.background_images[0]
        assert evaluated.image_user.frame_offset == row


def test_a_missing_copy_is_said_and_another_film_is_not_shown(body, tmp_path):
    said = []
    (tmp_path / "phone.mp4").symlink_to(CODED / "phone.mp4")
    save(tmp_path / "motion.npz", body, KNOWN["uneven"])
    settings = placement_settings(bpy.context.scene.wham)
    import_file(bpy.context, tmp_path / "motion.npz", None, settings, lambda kind, text: said.append(text))
    camera = next(obj for obj in bpy.data.objects if obj.type == "CAMERA")
    assert not camera.data.background_images
    assert any("phone.mp4 is not shown behind the camera" in text for text in said)


def test_a_film_that_blender_cannot_read_is_said(body, tmp_path):
    (tmp_path / "30.mp4").write_bytes(b"no film")
    said = []
    save(tmp_path / "motion.npz", body, KNOWN["30 fps"])
    settings = placement_settings(bpy.context.scene.wham)
    import_file(bpy.context, tmp_path / "motion.npz", None, settings, lambda kind, text: said.append(text))
    assert any("Blender cannot read 30.mp4" in text for text in said)
    assert not bpy.data.images
    camera = next(obj for obj in bpy.data.objects if obj.type == "CAMERA")
    assert not camera.data.background_images


# --- where the film is drawn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1920, 1080), (1080, 1920), (640, 480)], ids=str)
@pytest.mark.parametrize(
    "render", [(1920, 1080, 1, 1), (1080, 1920, 1, 1), (500, 500, 1, 1), (720, 576, 16, 15)], ids=str
)
def test_the_body_lies_on_the_film_at_every_render_size(body, tmp_path, size, render):
    """Blender draws a background with the method FIT as large as it fits, undistorted, into the middle of the frame."""
    (width, height), scene = size, bpy.context.scene
    person = make_motion(body)
    centre = 0.48 * width, 0.53 * height
    person.camera_K = np.array([[0.8 * width, 0, centre[0]], [0, 0.8 * width, centre[1]], [0, 0, 1]], np.float32)
    person.meta = {"clip": "dance.mp4", "size": list(size)}
    motion_file.save(tmp_path / "motion.npz", [person])
    bpy.ops.wham.import_motion(filepath=str(tmp_path / "motion.npz"), fps="CLIP")
    # The user changes the render size afterwards; no operator of the add-on runs.
    scene.render.resolution_x, scene.render.resolution_y = render[:2]
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = render[2:]
    frame = np.array([render[0] * render[2] / render[3], render[1]])  # in square pixels
    film = np.array(size) * (frame / size).min()
    (camera,) = (obj for obj in bpy.data.objects if obj.type == "CAMERA")
    joints = person.joints()
    for row in (0, 13, 39):
        scene.frame_set(1 + row)
        bpy.context.view_layer.update()
        seen = (joints[row] @ person.camera_R[row].T + person.camera_t[row]) @ person.camera_K.T
        pixels = seen[:, :2] / seen[:, 2:]
        expected = ((pixels / size - 0.5) * film / frame + 0.5) * [1, -1] + [0, 1]
        found = np.array([world_to_camera_view(scene, camera, Vector(point))[:2] for point in joints[row]])
        assert np.abs((found - expected) * frame).max() < 0.001 * frame.max()


def test_the_frame_method_is_the_one_that_the_camera_follows(body, tmp_path):
    _, _, camera = bring(tmp_path, body, KNOWN["30 fps"])
    assert camera.data.background_images[0].frame_method == "FIT"
    assert all(curve.driver.is_simple_expression for curve in camera.data.animation_data.drivers)  # no script to trust


# --- frame rate: auto -------------------------------------------------------------------------------------------------


def animate(kind):
    scene = bpy.context.scene
    mesh = bpy.data.meshes.new("cube")
    cube = bpy.data.objects.new("cube", mesh)
    scene.collection.objects.link(cube)
    if kind == "keyframe":
        cube.keyframe_insert("location", frame=3)
    elif kind == "shape key":
        cube.shape_key_add(name="basis")
        cube.shape_key_add(name="smile").keyframe_insert("value", frame=3)
    elif kind == "camera data":
        eye = bpy.data.objects.new("eye", bpy.data.cameras.new("eye"))
        scene.collection.objects.link(eye)
        eye.data.keyframe_insert("lens", frame=3)
    elif kind == "strip":
        cube.keyframe_insert("location", frame=3)
        animation = cube.animation_data
        animation.nla_tracks.new().strips.new("walk", 1, animation.action)
        animation.action = None
    elif kind == "sequencer":
        editor = scene.sequence_editor_create()
        strips = editor.strips if hasattr(editor, "strips") else editor.sequences
        strips.new_movie("film", str(CODED / "30.mp4"), 1, 1)
    elif kind == "marker":
        scene.timeline_markers.new("shot 2", frame=40)
    elif kind == "node":
        mesh.materials.append(glowing := bpy.data.materials.new("glowing"))
        if bpy.app.version < (5, 0, 0):
            glowing.use_nodes = True
        glowing.node_tree.nodes["Principled BSDF"].inputs[0].keyframe_insert("default_value", frame=3)
    elif kind == "geometry nodes":
        group = bpy.data.node_groups.new("growing", "GeometryNodeTree")
        group.nodes.new("ShaderNodeValue").outputs[0].keyframe_insert("default_value", frame=3)
        cube.modifiers.new("growing", "NODES").node_group = group
    elif kind == "instance":
        collection = bpy.data.collections.new("characters")
        collection.objects.link(cube)
        scene.collection.objects.unlink(cube)
        cube.keyframe_insert("location", frame=3)
        instance = bpy.data.objects.new("instance", None)
        instance.instance_type, instance.instance_collection = "COLLECTION", collection
        scene.collection.objects.link(instance)
    elif kind == "drawing":
        pencils = getattr(bpy.data, "grease_pencils_v3", bpy.data.grease_pencils)
        layer = pencils.new("sketch").layers.new("ink")
        for frame in (1, 12):
            layer.frames.new(frame)
        scene.collection.objects.link(bpy.data.objects.new("sketch", pencils["sketch"]))
    elif kind == "cache":
        (path := Path(bpy.app.tempdir) / "wind.abc").write_bytes(b"")
        bpy.ops.cachefile.open(filepath=str(path))
        cube.modifiers.new("wind", "MESH_SEQUENCE_CACHE").cache_file = bpy.data.cache_files[0]
    elif kind == "elsewhere":  # animated, but in another scene
        other = bpy.data.scenes.new("other")
        scene.collection.objects.unlink(cube)
        other.collection.objects.link(cube)
        cube.keyframe_insert("location", frame=3)


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("nothing", ""), ("elsewhere", ""), ("keyframe", "cube is animated"), ("strip", "cube is animated"),
        ("shape key", "is animated"), ("camera data", "eye is animated"),
        ("sequencer", "the video sequencer has strips"), ("marker", "the timeline has markers"),
        ("node", "is animated"), ("geometry nodes", "growing is animated"), ("instance", "cube is animated"),
        ("drawing", "sketch is animated"), ("cache", "cube is animated"),
    ],
)  # fmt: skip
def test_the_scene_takes_the_clips_rate_unless_it_is_animated(motion_path, kind, found):
    scene = bpy.context.scene
    assert scene.wham.fps == "AUTO"
    animate(kind)
    said = scene_settings.rate_sentence(scene, placement_settings(scene.wham).clip_rate)
    assert bpy.ops.wham.import_motion(filepath=str(motion_path)) == {"FINISHED"}
    if found:
        assert said.startswith("The motion fits the scene's 24 fps: ") and said.endswith(found)
        assert scene_rate() == 24
        assert scene.render.resolution_x == 1920
    else:
        assert said == "The scene takes the clip's frame rate, range and resolution: nothing in it is animated yet"
        assert (scene_rate(), scene.frame_end) == (25, 40)
        assert (scene.render.resolution_x, scene.render.resolution_y) == (1280, 720)
        # Now it is animated, so that a second motion fits it.
        bpy.ops.wham.import_motion(filepath=str(motion_path), start_frame=100)
        assert scene.frame_end == 40


@pytest.mark.parametrize("start", [-100, -20, 1])
def test_the_scene_plays_the_whole_motion_whatever_was_previewed_before(motion_path, start):
    scene = bpy.context.scene
    scene.use_preview_range, scene.frame_preview_start, scene.frame_preview_end = True, 100, 120
    bpy.ops.wham.import_motion(filepath=str(motion_path), start_frame=start, fps="CLIP")
    played = (scene.frame_start, scene.frame_end)
    if scene.use_preview_range:
        played = (scene.frame_preview_start, scene.frame_preview_end)
    assert played == (start, start + 39)


def test_what_scripts_say_is_kept(motion_path):
    scene = bpy.context.scene
    for fps, rate in (("SCENE", 24), ("CLIP", 25)):
        assert bpy.ops.wham.import_motion(filepath=str(motion_path), fps=fps) == {"FINISHED"}
        assert scene_rate() == rate
    assert "clip's frame rate" in scene_settings.rate_sentence(scene, True)
    assert scene_settings.rate_sentence(scene, False) == "The motion fits the scene's 25 fps"


# --- edits of keyframes that are not evenly spaced --------------------------------------------------------------------


@pytest.fixture
def uneven(body, tmp_path):
    """A character that is keyed at a phone's uneven times."""
    _, armature, _ = bring(tmp_path, body, KNOWN["uneven"])
    bpy.context.view_layer.objects.active = armature
    return armature


def test_smoothing_counts_time_and_not_keyframes(uneven):
    """A wave of 1 Hz in time stays under a low pass at 4 Hz, whatever the distances of the keyframes."""
    found = character.read(uneven)
    seconds = (found.frames - found.frames[0]) / uneven.wham_motion.keyed_rate
    wave = np.stack([0.1 * np.sin(2 * np.pi * 1.0 * seconds), seconds, np.ones(len(seconds))], 1)
    character.write(uneven, character.replace(found, root=wave, contacts=np.zeros_like(found.contacts)))
    assert bpy.ops.wham.smooth_motion(strength=0.25) == {"FINISHED"}
    after = character.read(uneven)
    assert (after.frames == found.frames).all()
    inner = slice(6, -6)
    assert np.abs(after.root - wave)[inner].max() < 0.01
    assert np.abs(np.diff(after.root[:, 1]) - np.diff(seconds))[inner].max() < 0.002  # walks evenly on


def test_a_loop_of_uneven_keyframes_is_as_long_as_its_range(uneven):
    frames = character.read(uneven).frames
    assert bpy.ops.wham.loop_motion(blend=4) == {"FINISHED"}
    steps = np.diff(character.read(uneven).frames)
    assert np.ptp(steps) < 1e-3
    assert steps.sum() + 3 * steps[0] == pytest.approx(np.ptp(frames), abs=1e-3)  # of an end of four keyframes


def test_contacts_of_uneven_keyframes_are_measured_in_scene_frames(uneven):
    before = character.read(uneven)
    assert bpy.ops.wham.mark_contacts(shortest=4) == {"FINISHED"}
    after = character.read(uneven).contacts
    ends = np.append(before.frames[1:], before.frames[-1] + np.diff(before.frames)[-1])
    for column, point in enumerate(planted(before.probabilities).T):
        edges = np.flatnonzero(np.diff(point, prepend=False, append=False)).reshape(-1, 2)
        for start, stop in edges:
            long = ends[stop - 1] - before.frames[start] > 4 - 1e-3
            assert after[start:stop, column].all() == after[start:stop, column].any() == long


def test_resampling_is_what_blender_shows_between_keyframes(uneven):
    found = character.read(uneven)
    frames = np.arange(np.ceil(found.frames[0]), np.floor(found.frames[-1]), 3.0)
    at = resampled(found, frames)
    for row, frame in enumerate(frames):
        bpy.context.scene.frame_set(int(frame))
        posed = uneven.evaluated_get(bpy.context.evaluated_depsgraph_get())
        head = np.array(posed.matrix_world @ posed.pose.bones["pelvis"].head)
        assert np.abs(head - at.root[row]).max() < 1e-4
        contact = [uneven[f"contact_{point}"] for point in ("left_toe", "left_heel", "right_toe", "right_heel")]
        assert contact == at.contacts[row].tolist()
