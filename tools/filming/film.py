"""Makes one film: the people of a take before a camera, with motion blur, noise and compression, and its truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from tools.training import simulate
from tools.training.painter import Painter, quads
from wham_blender import weights
from wham_blender.body.body import Body
from wham_blender.skeleton import PARENTS

from .cameras import Camera, Shot
from .motion import Actor, Posed, Source
from .place import Place, View
from .truth import Truth

_SHUTTER = 0.5  # of the time between two frames: 180 degrees
_BLUR_STEP = 7.0  # pixels that a joint moves, at most, between two of the pictures whose mean is a frame
_MOST_PICTURES = 4
_GRAIN_SHIFT = 32  # pixels: the noise of all frames is cut from one picture
_MARGIN = 0.02  # of the picture's sides: static cameras step back until nobody comes nearer to the edge
_LIGHT = np.array([0.35, 0.25, 0.9]) / np.linalg.norm([0.35, 0.25, 0.9])  # where it comes from, in the world
_BONE_RADIUS = 0.075  # metres: bones as thick as this stand for the body in shadows and where people hide each other


@dataclass(frozen=True)
class Film:
    """What a film shows and how it is shot."""

    name: str
    kind: str  # of motion
    takes: tuple[str, ...]
    begin: float  # seconds of the take
    seconds: float  # of the take
    shot: Shot
    place: str = "room"  # or lawn
    slowness: float = 1.0  # how many times slower it is played than it was filmed
    fps: float = 30.0
    seed: int = 0


class Crew:
    """What every film is made with."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.body = Body.load(weights.find("body").path)
        self.training = simulate.TrainingBody()
        self.quads = quads(self.body.faces.astype(np.int64))


def make(film: Film, crew: Crew, path: Path, key: str) -> Truth:
    """Render a film to ``path`` (.mp4) with its truth beside it (.npz). ``key`` is kept in the truth."""
    rng = np.random.default_rng(film.seed)
    actors = [Actor(Source.of(take, crew.folders), crew.body, crew.training, rng) for take in film.takes]
    seconds = min(film.seconds, min(actor.seconds for actor in actors) - film.begin)
    times = np.arange(round(seconds * film.slowness * film.fps)) / film.fps  # of the film
    in_take = film.begin + times / film.slowness
    for actor in actors:
        actor.stand_where_captured(in_take)
    centre = np.mean([actor.at(in_take).keypoints[..., :2].mean((0, 1)) for actor in actors], 0)
    for actor in actors:
        actor.move(-centre)
    people = [actor.at(in_take) for actor in actors]
    camera = _camera(film, times, people, rng)
    views = [camera.view(time) for time in times]
    painters = [Painter(crew.body, rng, 64) for _ in actors]
    where = np.concatenate([person.keypoints[::6].mean(1)[:, :2] for person in people])
    place = Place(film.place, where, np.array([-v.rotation.T @ v.translation for v in views])[::6, :2], rng)
    studio = Studio(crew, place, [painter.dress() for painter in painters], film.shot.size, rng)
    boxes, seen = [], []
    with _Writer(path, film) as writer:
        for row, time in enumerate(times):
            count = _pictures(views, people, row)
            exposed = time + (np.arange(count) - (count - 1) / 2) / count * _SHUTTER / film.fps
            moments = [actor.at(film.begin + exposed / film.slowness) if count > 1 else None for actor in actors]
            pictures = []
            for number, instant in enumerate(exposed):
                view = camera.view(instant) if count > 1 else views[row]
                at = [(a, m, number) if m else (a, p, row) for a, m, p in zip(actors, moments, people, strict=True)]
                meshes = [actor.vertices(posed, index) for actor, posed, index in at]
                bones = [_bones(posed.joints[index]) for _, posed, index in at]
                pictures.append(studio.picture(view, meshes, bones))
                if number == count // 2:
                    boxes.append([_box(view.project(mesh), view.size) for mesh in meshes])
                    seen.append(_seen(view, bones))
            writer.write(studio.developed(pictures))
    truth = Truth(
        kind=film.kind, key=key, fps=film.fps, slowness=film.slowness, size=np.array(film.shot.size),
        **{name: np.stack([getattr(each, name) for each in people]) for name in vars(people[0])},
        betas=np.stack([actor.betas for actor in actors]), boxes=np.array(boxes).swapaxes(0, 1), seen=np.array(seen).T,
        camera_R=np.stack([v.rotation for v in views]), camera_t=np.stack([v.translation for v in views]),
        camera_K=np.stack([v.camera_K for v in views]),
    )  # fmt: skip
    truth.save(path.with_suffix(".npz"))
    return truth


def _camera(film: Film, times: np.ndarray, people: list[Posed], rng: np.random.Generator) -> Camera:
    """The film's camera, so far away that everybody stays in the picture."""
    camera = Camera(film.shot, times, np.stack([person.keypoints[:, 11:13].mean(1) for person in people]), rng)
    width, height = film.shot.size
    for _ in range(20):
        rows = range(0, len(times), 3)
        pixels = np.concatenate([camera.view(times[row]).project(p.keypoints[row]) for row in rows for p in people])
        at = pixels / (width, height)
        if at.min() > _MARGIN and at.max() < 1 - _MARGIN:
            break
        camera.step_back()
    return camera


def _pictures(views: list[View], people: list[Posed], row: int) -> int:
    """How many pictures a frame is the mean of: as many as movement during the exposure asks for."""
    after = min(row + 1, len(views) - 1)
    before = max(after - 1, 0)
    moved = max(
        np.linalg.norm(
            views[after].project(p.keypoints[after]) - views[before].project(p.keypoints[before]), axis=1
        ).max()
        for p in people
    )
    corners = np.array([[-3.0, 0, 0], [3.0, 0, 0], [0, 3, 1], [0, -3, 1]])
    turned = np.linalg.norm(views[after].project(corners) - views[before].project(corners), axis=1).min()
    return int(np.clip(np.ceil(max(moved, turned) * _SHUTTER / _BLUR_STEP), 1, _MOST_PICTURES))


def _bones(joints: np.ndarray) -> np.ndarray:
    """The ends (23, 2, 3) of the bones between joints (24, 3)."""
    return np.stack([joints[list(PARENTS[1:])], joints[1:]], 1)


def _box(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.concatenate([pixels.min(0).clip(0, size), pixels.max(0).clip(0, size)])


def _seen(view: View, bones: list[np.ndarray]) -> list[float]:
    """Share of each body that is inside the picture and not behind another."""
    scale = 160 / max(view.size)
    centre = -view.rotation.T @ view.translation
    order = np.argsort([-np.linalg.norm(each.mean((0, 1)) - centre) for each in bones])
    shape = (round(view.size[1] * scale) * 3, round(view.size[0] * scale) * 3)  # with a picture's size on each side
    picture = np.zeros(shape, np.uint8)
    whole = np.zeros(len(bones))
    for person in order:
        mask = np.zeros(shape, np.uint8)
        _draw_bones(mask, view, bones[person], scale, (shape[1] // 3, shape[0] // 3))
        whole[person] = (mask > 0).sum()
        picture[mask > 0] = person + 1
    inside = picture[shape[0] // 3 : 2 * shape[0] // 3, shape[1] // 3 : 2 * shape[1] // 3]
    return [float((inside == person + 1).sum() / max(whole[person], 1)) for person in range(len(bones))]


def _draw_bones(
    mask: np.ndarray, view: View, bones: np.ndarray, scale: float, origin: tuple[int, int] = (0, 0)
) -> None:
    depth = view.to_camera(bones)[..., 2]
    pixels = view.project(bones) * scale + origin
    thickness = 2 * _BONE_RADIUS * view.camera_K[0, 0] * scale / depth.mean(1)
    for ends, width, near in zip(pixels, thickness, depth.min(1), strict=True):
        if near > 0.1 and np.abs(ends).max() < 1e4:
            a, b = ends.round().astype(int).tolist()
            cv2.line(mask, a, b, 255, max(1, round(float(width))))


class Studio:
    """Draws the pictures of one film."""

    def __init__(
        self, crew: Crew, place: Place, colours: list[np.ndarray], size: tuple[int, int], rng: np.random.Generator,
        *, thing: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:  # fmt: skip
        """``thing``: quadrilaterals (Q, 4) of a mesh that follows the people's, and their colours (Q, 3), RGB 0..1."""
        self._place, self._rng = place, rng
        count = len(crew.body.smpl.v_template)
        quads = [crew.quads + count * person for person in range(len(colours))]
        painted = [each.reshape(-1, 2, 3).mean(1) for each in colours]
        if thing is not None:
            quads, painted = [*quads, thing[0] + count * len(colours)], [*painted, thing[1]]
        self._quads = np.concatenate(quads)
        self._colours = np.concatenate(painted)[:, ::-1] * 255
        self._ambient = rng.uniform(0.4, 0.6)
        self._softness = rng.uniform(0.4, 0.9)
        border = (size[1] + _GRAIN_SHIFT, size[0] + _GRAIN_SHIFT, 3)
        self._grain = (rng.uniform(1, 4) * rng.standard_normal(border, np.float32)).round().astype(np.int16)
        self._place_drawn: tuple[np.ndarray, np.ndarray] | None = None  # a camera, and the place as seen from there

    def picture(self, view: View, meshes: list[np.ndarray], bones: list[np.ndarray]) -> np.ndarray:
        """A sharp picture (H, W, 3) uint8 BGR of meshes (V, 3) and bones (23, 2, 3) in the world."""
        pose = np.column_stack([view.rotation, view.translation])
        if self._place_drawn is None or not np.array_equal(self._place_drawn[0], pose):
            self._place_drawn = pose, self._place.draw(view)
        image = self._shadowed(self._place_drawn[1].copy(), view, bones)
        self._draw_people(image, view, np.concatenate(meshes))
        return image

    def developed(self, pictures: list[np.ndarray]) -> np.ndarray:
        """The frame that a camera records of pictures during its exposure."""
        total = pictures[0].astype(np.uint16) if len(pictures) > 1 else pictures[0]
        for picture in pictures[1:]:
            total += picture
        soft = cv2.GaussianBlur((total // len(pictures)).astype(np.uint8), (0, 0), self._softness)
        down, right = self._rng.integers(_GRAIN_SHIFT, size=2)
        grain = self._grain[down : down + len(soft), right : right + soft.shape[1]]
        return cv2.add(soft, grain, dtype=cv2.CV_8U)

    def _shadowed(self, image: np.ndarray, view: View, bones: list[np.ndarray]) -> np.ndarray:
        mask = np.zeros(image.shape[:2], np.uint8)
        for each in bones:
            fallen = each - each[..., 2:] / _LIGHT[2] * _LIGHT
            _draw_bones(mask, view, fallen, 1.0)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return image
        border = 12
        part = np.s_[max(0, rows[0] - border) : rows[-1] + border, max(0, columns[0] - border) : columns[-1] + border]
        soft = cv2.GaussianBlur(mask[part], (0, 0), 4).astype(np.float32)[..., None] / 255
        image[part] = (image[part] * (1 - 0.5 * soft)).astype(np.uint8)
        return image

    def _draw_people(self, image: np.ndarray, view: View, vertices: np.ndarray) -> None:
        in_camera = view.to_camera(vertices)
        corners = vertices[self._quads]
        normal = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        centre = -view.rotation.T @ view.translation
        depth = in_camera[:, 2][self._quads].mean(1)
        front = np.flatnonzero(((corners.mean(1) - centre) * normal).sum(1) < 0)
        front = front[np.argsort(-depth[front])]
        shade = self._ambient + (1 - self._ambient) * np.clip(normal[front] @ _LIGHT, 0, 1)
        colours = (self._colours[front] * shade[:, None]).astype(np.uint8).tolist()
        shapes = np.round(view.project(vertices)[self._quads[front]] * 16).clip(-(2**20), 2**20).astype(np.int32)
        for shape, colour in zip(shapes, colours, strict=True):
            cv2.fillConvexPoly(image, shape, colour, cv2.LINE_AA, 4)


class _Writer:
    """Writes frames (H, W, 3) uint8 BGR to an H.264 file."""

    def __init__(self, path: Path, film: Film) -> None:
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=Fraction(film.fps).limit_denominator(1001))
        self._stream.width, self._stream.height = film.shot.size
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "23", "preset": "superfast"}

    def __enter__(self) -> _Writer:
        return self

    def write(self, image: np.ndarray) -> None:
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))

    def __exit__(self, *_: object) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()
