"""Renders meshes in a textured room or on a lawn with a known camera, in Blender as a module.

python render.py MESHES.npz room|lawn CLIP.mp4 WIDTH HEIGHT
"""

import os
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

SENSOR = 36.0  # millimetres
# SMPL joints by clothing; the others are a shirt.
TROUSERS, SHOES, SKIN = {0, 1, 2, 4, 5}, {7, 8, 10, 11}, {12, 15, 18, 19, 20, 21, 22, 23}
CLOTHES = [
    {"trousers": (0.05, 0.07, 0.16), "shirt": (0.55, 0.08, 0.07), "shoes": (0.05, 0.05, 0.05)},
    {"trousers": (0.22, 0.16, 0.10), "shirt": (0.06, 0.28, 0.20), "shoes": (0.5, 0.5, 0.5)},
]
SKIN_COLOUR = (0.62, 0.36, 0.25)


def material(name: str, colour: tuple[float, float, float], image: bpy.types.Image | None = None) -> bpy.types.Material:
    made = bpy.data.materials.new(name)
    made.diffuse_color = (*colour, 1.0)
    if image:
        made.use_nodes = True
        node = made.node_tree.nodes.new("ShaderNodeTexImage")
        node.image = image
        made.node_tree.nodes.active = node
    return made


def picture(name: str, pixels: np.ndarray) -> bpy.types.Image:
    """An image from (H, W, 3), 0..1."""
    image = bpy.data.images.new(name, pixels.shape[1], pixels.shape[0])
    image.pixels.foreach_set(np.dstack([pixels, np.ones(pixels.shape[:2])]).astype(np.float32).ravel())
    image.pack()
    return image


def noise_texture(
    rng: np.random.Generator, colour: np.ndarray | tuple[float, float, float], contrast: float
) -> np.ndarray:
    """A surface (512, 512, 3) with noise at every scale, so that corners can be tracked."""
    total = np.zeros((512, 512))
    for size in (4, 8, 16, 32, 64, 128):
        total += np.kron(rng.normal(0, 1, (size, size)), np.ones((512 // size, 512 // size)))
    total /= total.std()
    return np.clip(np.array(colour) * (1 + contrast * total[..., None]), 0, 1)


def wall_texture(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """A wall (512, 512, 3) with posters and shelves."""
    wall = noise_texture(rng, colour, 0.06)
    for _ in range(26):
        x, y, w, h = rng.integers(0, 440), rng.integers(120, 440), rng.integers(16, 90), rng.integers(12, 80)
        wall[y : y + h, x : x + w] = rng.uniform(0.05, 0.95, 3)
        wall[y + 4 : y + h - 4, x + 4 : x + w - 4] *= rng.uniform(0.3, 1)
    return wall


def quad(
    name: str, corners: list[tuple[float, float, float]], repeat: tuple[float, float], image: bpy.types.Image
) -> None:
    """A textured quadrilateral."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(corners, [], [(0, 1, 2, 3)])
    layer = mesh.uv_layers.new()
    for loop, uv in zip(layer.data, [(0, 0), (1, 0), (1, 1), (0, 1)], strict=True):
        loop.uv = (uv[0] * repeat[0], uv[1] * repeat[1])
    mesh.materials.append(material(name, (0.5, 0.5, 0.5), image))
    bpy.context.scene.collection.objects.link(bpy.data.objects.new(name, mesh))


def box(name: str, low: np.ndarray, high: np.ndarray, image: bpy.types.Image) -> None:
    """Four sides and a top."""
    (a, b, c), (d, e, f) = low, high
    ring = [(a, b), (d, b), (d, e), (a, e)]
    for number, (p, q) in enumerate(zip(ring, ring[1:] + ring[:1], strict=True)):
        quad(f"{name}{number}", [(*p, c), (*q, c), (*q, f), (*p, f)], (1, 1), image)
    quad(f"{name} top", [(*p, f) for p in ring], (1, 1), image)


def room(rng: np.random.Generator) -> None:
    """Nine metres by twelve, three high, with furniture along the walls."""
    x, y, z = 4.5, 6.0, 3.0
    ring = [(-x, -y), (x, -y), (x, y), (-x, y)]
    for number, (p, q) in enumerate(zip(ring, ring[1:] + ring[:1], strict=True)):
        image = picture(f"wall{number}", wall_texture(rng, rng.uniform(0.5, 0.8, 3)))
        quad(f"wall{number}", [(*p, 0), (*q, 0), (*q, z), (*p, z)], (2, 1), image)
    quad("floor", [(*p, 0) for p in ring], (3, 4), picture("floor", noise_texture(rng, (0.45, 0.33, 0.22), 0.25)))
    quad(
        "ceiling",
        [(*p, z) for p in ring[::-1]],
        (2, 2),
        picture("ceiling", noise_texture(rng, (0.75, 0.75, 0.72), 0.08)),
    )
    for number, (u, v) in enumerate([(-3.9, 2.5), (3.8, 1.0), (-1.0, 5.3), (2.2, 5.2), (-3.8, -2.6), (3.7, -3.2)]):
        half = rng.uniform(0.3, 0.6, 2)
        low, high = (
            np.array([*(np.array([u, v]) - half), 0]),
            np.array([*(np.array([u, v]) + half), rng.uniform(0.5, 1.9)]),
        )
        box(f"cupboard{number}", low, high, picture(f"cupboard{number}", wall_texture(rng, rng.uniform(0.2, 0.7, 3))))


def lawn(rng: np.random.Generator) -> None:
    """A lawn with bushes, and distant trees."""
    r = 40.0
    grass = picture("grass", noise_texture(rng, (0.16, 0.33, 0.09), 0.3))
    quad("lawn", [(-r, -r, 0), (r, -r, 0), (r, r, 0), (-r, r, 0)], (20, 20), grass)
    wood = picture("wood", noise_texture(rng, (0.10, 0.22, 0.08), 0.45))
    for number in range(36):
        angle = 2 * np.pi * number / 36
        far = rng.uniform(22, 36)
        centre, half = far * np.array([np.cos(angle), np.sin(angle)]), rng.uniform(1.5, 4, 2)
        box(f"tree{number}", np.array([*(centre - half), 0]), np.array([*(centre + half), rng.uniform(3, 9)]), wood)
    for number in range(14):
        centre, half = rng.uniform([-9, 4], [9, 14]), rng.uniform(0.2, 0.6, 2)
        box(f"bush{number}", np.array([*(centre - half), 0]), np.array([*(centre + half), rng.uniform(0.3, 1.2)]), wood)


def person(number: int, vertices: np.ndarray, faces: np.ndarray, joint: np.ndarray) -> bpy.types.Object:
    """A mesh with materials for clothes, skin and hair."""
    mesh = bpy.data.meshes.new(f"person {number}")
    mesh.from_pydata(vertices.tolist(), [], faces.tolist())
    clothes = CLOTHES[number % len(CLOTHES)]
    hair = vertices[:, 2] > vertices[joint == 15, 2].max() - 0.09
    for name, colour in {**clothes, "skin": SKIN_COLOUR, "hair": (0.06, 0.04, 0.03)}.items():
        mesh.materials.append(material(f"{name} {number}", colour))
    material_index = np.full(len(joint), 1)
    for index, joints in ((0, TROUSERS), (2, SHOES), (3, SKIN)):
        material_index[np.isin(joint, list(joints))] = index
    material_index[(joint == 15) & hair] = 4
    mesh.polygons.foreach_set("material_index", np.median(material_index[faces], 1).astype(np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
    made = bpy.data.objects.new(mesh.name, mesh)
    bpy.context.scene.collection.objects.link(made)
    return made


def main(arrays: Path, place: str, clip: Path, width: int, height: int) -> None:
    """Build the scene and film it."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    with np.load(arrays, allow_pickle=False) as data:
        vertices, faces, joint = data["vertices"], data["faces"], data["joint"]
        to_camera, shift, intrinsics = data["camera_R"], data["camera_t"], data["camera_K"]
    scene = bpy.context.scene
    {"room": room, "lawn": lawn}[place](np.random.default_rng(3))
    people = [person(number, mesh[0], faces, joint) for number, mesh in enumerate(vertices)]

    data = bpy.data.cameras.new("Camera")
    data.sensor_fit, data.sensor_width, data.lens = "HORIZONTAL", SENSOR, intrinsics[0, 0] * SENSOR / width
    camera = bpy.data.objects.new("Camera", data)
    scene.collection.objects.link(camera)
    scene.camera = camera

    def advance(scene: bpy.types.Scene, *_: object) -> None:
        row = scene.frame_current - 1
        for made, mesh in zip(people, vertices, strict=True):
            made.data.vertices.foreach_set("co", mesh[row].ravel())
            made.data.update()
        rotation = to_camera[row].T @ np.diag([1, -1, -1])
        camera.matrix_world = Matrix.LocRotScale(-to_camera[row].T @ shift[row], Matrix(rotation), None)

    bpy.app.handlers.frame_change_pre.append(advance)
    render = scene.render
    render.engine = "BLENDER_WORKBENCH"
    render.resolution_x, render.resolution_y, render.fps = width, height, 30
    scene.frame_start, scene.frame_end = 1, vertices.shape[1]
    scene.view_settings.view_transform = "Standard"
    scene.world = bpy.data.worlds.new("Sky")
    scene.world.color = (0.45, 0.62, 0.85)
    scene.display.render_aa = "5"
    shading = scene.display.shading
    shading.light, shading.color_type = "STUDIO", "TEXTURE"
    shading.background_type = "WORLD"
    render.image_settings.file_format = "FFMPEG"
    render.ffmpeg.format, render.ffmpeg.codec = "MPEG4", "H264"
    render.ffmpeg.constant_rate_factor, render.ffmpeg.gopsize = "MEDIUM", 60
    render.filepath = str(clip)
    bpy.ops.render.render(animation=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:6]))
    sys.stdout.flush()
    os._exit(0)  # Blender as a module may hang at exit
