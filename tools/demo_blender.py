"""Imports a motion in Blender as a user would, saves the scene, and renders clip and character side by side.

    python tools/demo_blender.py MOTION.npz CLIP OUT_DIR        (a Python that has bpy)

Writes ``demo.blend`` and ``preview.png``: frames of the clip, the character over the same frames through the
solved camera, and its trajectory in the world. Renders with Workbench, without a display.
"""

import sys
import tempfile
from pathlib import Path

import bpy  # first: it brings addon_utils

# isort: split
import addon_utils
import numpy as np
from mathutils import Matrix, Vector

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from wham_blender import motion as motion_file  # noqa: E402
from wham_blender.motion import Motion  # noqa: E402

MOMENTS = 8
CELL = (240, 320)  # pixels, width and height
GAP = 6
STRIP_HEIGHT = 460
SMALLEST_DISTANCE = 0.6  # metres: nearer poses would overlap
BACKGROUND = (0.96, 0.96, 0.965)
COLOURS = ((0.16, 0.42, 0.85), (0.9, 0.45, 0.12), (0.2, 0.62, 0.35))  # of the people, in order
TILE = 0.5  # metres


def main(motion_path: Path, clip: Path, out: Path) -> None:
    """Import, save, render, compose."""
    addon_utils.enable("wham_blender", default_set=True)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    people = motion_file.load(motion_path)
    start = int(min(person.frame[0] for person in people))  # so that scene frames are the clip's frame numbers
    bpy.ops.wham.import_motion(filepath=str(motion_path), clip=str(clip), fps="CLIP", start_frame=start)
    scene = bpy.context.scene
    scene.frame_set(start)
    out.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(out / "demo.blend"))

    rows = np.linspace(0, len(people[0]) - 1, MOMENTS + 2).round().astype(int)[1:-1]
    moments = people[0].frame[rows].tolist()
    set_up_workbench(scene)
    with tempfile.TemporaryDirectory() as folder:
        pictures = [picture(p) for p in render_clip(clip, moments, scene.render, Path(folder))]
        characters = [picture(p) for p in render_frames(scene, moments, Path(folder))]
        width = MOMENTS * (CELL[0] + GAP) - GAP
        strip = render_trajectory(scene, people[0], (width, STRIP_HEIGHT), Path(folder))
    boxes = crop_boxes(people[0], rows)
    above = [crop(image[..., :3], box) for image, box in zip(pictures, boxes, strict=True)]
    below = [crop(over(c, p), box) for c, p, box in zip(characters, pictures, boxes, strict=True)]
    background = np.full((STRIP_HEIGHT, width, 3), BACKGROUND)
    save(stack([side_by_side(above), side_by_side(below), over(strip, background)]), out / "preview.png")


def set_up_workbench(scene: bpy.types.Scene) -> None:
    """Plain shaded colours on a transparent ground, and a colour for each person's body."""
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format = "PNG"
    scene.display.render_aa = "8"
    scene.display.shading.light = "STUDIO"
    scene.display.shading.color_type = "OBJECT"
    scene.display.shading.show_cavity = True
    for number, body in enumerate(bodies(scene)):
        body.color = (*COLOURS[number % len(COLOURS)], 1.0)


def bodies(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The skinned meshes of the import, in the people's order."""
    return [o for o in scene.objects if o.type == "MESH" and o.modifiers]


def render_frames(scene: bpy.types.Scene, frames: list[int], folder: Path) -> list[Path]:
    """Render some frames of a scene; returns their PNGs."""
    paths = []
    bpy.context.window.scene = scene  # the sequencer moves only in the window's scene
    for frame in frames:
        scene.frame_set(frame)
        paths.append(folder / f"{scene.name}{frame:06}.png")
        scene.render.filepath = str(paths[-1])
        bpy.ops.render.render(write_still=True)
    return paths


def render_clip(clip: Path, frames: list[int], size: bpy.types.RenderSettings, folder: Path) -> list[Path]:
    """Frames of a video, numbered from 1, as PNGs of a size, decoded by Blender's sequencer."""
    scene = bpy.data.scenes.new("Clip")
    scene.render.resolution_x, scene.render.resolution_y = size.resolution_x, size.resolution_y
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format = "PNG"
    editor = scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences  # before 4.4
    strips.new_movie("Clip", str(clip), channel=1, frame_start=1)
    return render_frames(scene, frames, folder)


def render_trajectory(scene: bpy.types.Scene, person: Motion, size: tuple[int, int], folder: Path) -> np.ndarray:
    """The first person's poses along the trajectory, on a floor of half-metre tiles, from the side; RGBA."""
    body = bodies(scene)[0]
    copies: list[bpy.types.Object] = []
    for row in spaced_rows(person):
        scene.frame_set(int(person.frame[row]))
        evaluated = body.evaluated_get(bpy.context.evaluated_depsgraph_get())
        copy = bpy.data.objects.new("Pose", bpy.data.meshes.new_from_object(evaluated))
        copy.matrix_world = evaluated.matrix_world
        copy.color = body.color
        scene.collection.objects.link(copy)
        copies.append(copy)
    for other in bodies(scene):
        other.hide_render = True
    corners = np.array([copy.matrix_world @ Vector(corner) for copy in copies for corner in copy.bound_box])
    add_floor(scene, corners.min(0), corners.max(0))

    camera = bpy.data.objects.new("Trajectory", bpy.data.cameras.new("Trajectory"))
    camera.data.lens = 70.0
    scene.collection.objects.link(camera)
    along = corners[:, :2] - corners[:, :2].mean(0)
    across = np.linalg.svd(along, full_matrices=False)[2][1]  # view the trajectory from its side
    across = across if across[1] < 0 else -across
    view = Matrix.Rotation(np.radians(25), 2) @ Vector(-across)  # and slightly from the front
    camera.rotation_euler = Vector((*view, -0.3)).to_track_quat("-Z", "Y").to_euler()
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.camera = camera
    depsgraph = bpy.context.evaluated_depsgraph_get()
    camera.location, _ = camera.camera_fit_coords(depsgraph, corners.ravel().tolist())
    camera.location -= 0.6 * (camera.rotation_euler.to_matrix() @ Vector((0, 0, -1)))
    scene.display.shading.show_shadows = True
    return picture(render_frames(scene, [scene.frame_current], folder)[0])


def spaced_rows(person: Motion) -> list[int]:
    """Rows of a motion at even distances along its trajectory, at most about a dozen."""
    pelvis = person.joints()[:, 0, :2]
    distance = max(SMALLEST_DISTANCE, np.linalg.norm(np.diff(pelvis[::10], axis=0), axis=1).sum() / MOMENTS)
    rows = [0]
    for row in range(len(pelvis)):
        if np.linalg.norm(pelvis[row] - pelvis[rows[-1]]) > distance:
            rows.append(row)
    return rows


def add_floor(scene: bpy.types.Scene, low: np.ndarray, high: np.ndarray) -> None:
    """Tiles in two greys at z = 0, three metres farther than the poses reach; low and high (3,) metres."""
    first, last = np.floor((low[:2] - 3) / TILE).astype(int), np.ceil((high[:2] + 3) / TILE).astype(int)
    for shade in (0, 1):
        tiles = [(x, y) for x in range(first[0], last[0]) for y in range(first[1], last[1]) if (x + y) % 2 == shade]
        steps = [(0, 0), (1, 0), (1, 1), (0, 1)]
        corners = [((x + dx) * TILE, (y + dy) * TILE, 0.0) for x, y in tiles for dx, dy in steps]
        mesh = bpy.data.meshes.new("Floor")
        mesh.from_pydata(corners, [], np.arange(len(corners)).reshape(-1, 4).tolist())
        floor = bpy.data.objects.new("Floor", mesh)
        floor.color = (0.8, 0.82, 0.85, 1.0) if shade else (1.0, 1.0, 1.0, 1.0)
        scene.collection.objects.link(floor)


def crop_boxes(person: Motion, rows: np.ndarray) -> list[tuple[int, int, int, int]]:
    """One box (left, top, width, height) in clip pixels a row: all of one size, each centred on the person."""
    joints = np.einsum("fij,fkj->fki", person.camera_R[rows], person.joints()[rows]) + person.camera_t[rows, None]
    pixels = joints @ person.camera_K.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    low, high = pixels.min(1), pixels.max(1)
    reach = (high - low).max(0)
    height = round(1.35 * max(reach[1], reach[0] * CELL[1] / CELL[0]))
    width = round(height * CELL[0] / CELL[1])
    return [(round(x - width / 2), round(y - height / 2), width, height) for x, y in (low + high) / 2]


def crop(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """The box of an image (H, W, 3) at the size of a cell; black where it reaches beyond the image's edge."""
    left, top, width, height = box
    columns = left + (np.arange(CELL[0]) + 0.5) * width / CELL[0]
    rows = top + (np.arange(CELL[1]) + 0.5) * height / CELL[1]
    inside = ((rows >= 0) & (rows < len(image)))[:, None] & (columns >= 0) & (columns < image.shape[1])
    # Average the clip pixels within each pixel of the cell, to avoid aliasing.
    step = max(1, round(width / CELL[0]))
    offsets = (np.arange(step) - (step - 1) / 2) * width / CELL[0] / step
    shifted = [
        image[
            np.clip((rows + dy).astype(int), 0, len(image) - 1)[:, None],
            np.clip((columns + dx).astype(int), 0, image.shape[1] - 1),
        ]
        for dy in offsets
        for dx in offsets
    ]
    return np.mean(shifted, axis=0) * inside[..., None]


def over(front: np.ndarray, back: np.ndarray) -> np.ndarray:
    """An RGBA picture over another of the same height and width; (H, W, 3)."""
    alpha = front[..., 3:]
    return front[..., :3] * alpha + back[..., :3] * (1 - alpha)


def side_by_side(cells: list[np.ndarray]) -> np.ndarray:
    """Cells in a row with gaps of background."""
    gap = np.full((CELL[1], GAP, 3), BACKGROUND)
    return np.concatenate([part for cell in cells for part in (gap, cell)][1:], axis=1)


def stack(bands: list[np.ndarray]) -> np.ndarray:
    """Bands of one width below each other with gaps of background."""
    gap = np.full((GAP, bands[0].shape[1], 3), BACKGROUND)
    return np.concatenate([part for band in bands for part in (gap, band)][1:])


def picture(path: Path) -> np.ndarray:
    """An image file as (H, W, 4), 0..1, first row on top."""
    image = bpy.data.images.load(str(path))
    pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(image.size[1], image.size[0], 4)[::-1]
    bpy.data.images.remove(image)
    return pixels


def save(pixels: np.ndarray, path: Path) -> None:
    """Write (H, W, 3), 0..1, first row on top, as PNG or JPEG."""
    height, width = pixels.shape[:2]
    image = bpy.data.images.new("Preview", width, height)
    opaque = np.concatenate([pixels, np.ones((height, width, 1))], axis=-1)
    image.pixels.foreach_set(opaque[::-1].astype(np.float32).ravel())
    image.filepath_raw, image.file_format = str(path), "JPEG" if path.suffix == ".jpg" else "PNG"
    image.save()


if __name__ == "__main__":
    main(*(Path(argument).resolve() for argument in sys.argv[1:4]))
