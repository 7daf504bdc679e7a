"""Valid small files, which the fuzz harness then damages. Packages are imported where they are needed."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import tempfile
import types
import zipfile
from collections import OrderedDict
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_VERTICES = 9


@cache
def body() -> dict[str, np.ndarray]:
    """SMPL's arrays for a body of few vertices."""
    rng = np.random.default_rng(0)
    shapes = {
        "v_template": (_VERTICES, 3), "shapedirs": (_VERTICES, 3, 10), "posedirs": (_VERTICES, 3, 207),
        "J_regressor": (24, _VERTICES), "weights": (_VERTICES, 24),
    }  # fmt: skip
    arrays = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
    arrays["kintree_table"] = np.stack([np.r_[-1, np.zeros(23)], np.arange(24)]).astype(np.int64)
    arrays["f"] = rng.integers(0, _VERTICES, (4, 3)).astype(np.uint32)
    return arrays


@cache
def body_pickle(protocol: int = 2) -> bytes:
    """SMPL's file of 2015: with chumpy's arrays, which need no chumpy here, and SciPy's sparse matrix."""
    import scipy.sparse

    module = types.ModuleType("chumpy.ch")
    kind = type("Ch", (), {"__module__": "chumpy.ch"})
    module.Ch = kind  # type: ignore[attr-defined]

    def wrapped(array: np.ndarray) -> object:
        value = kind()
        value.__dict__.update(x=array, _dirty_vars=set(), _depends_on_deps=None)
        return value

    content: dict[str, object] = dict(body()) | {
        "J_regressor": scipy.sparse.csc_matrix(body()["J_regressor"]), "v_template": wrapped(body()["v_template"]),
        "bs_style": "lbs",
    }  # fmt: skip
    sys.modules |= {"chumpy": types.ModuleType("chumpy"), "chumpy.ch": module}
    try:
        return pickle.dumps(content, protocol)
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]


def members(archive: bytes) -> dict[str, bytes]:
    """The members of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {entry.filename: opened.read(entry) for entry in opened.infolist()}


def npz(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    """The members of an .npz of these arrays."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return members(stream.getvalue())


@cache
def network(legacy: bool = False) -> bytes:
    """A checkpoint of PyTorch with the names and shapes of ViTPose, whose tensors take no space."""
    import torch

    tensors = OrderedDict(
        {
            "backbone.patch_embed.proj.weight": torch.zeros(1).expand(1280, 3, 16, 16),
            "keypoint_head.final_layer.weight": torch.zeros(1).expand(17, 256, 1, 1),
            "other": torch.arange(6).reshape(2, 3).t(),
            "parameter": torch.nn.Parameter(torch.ones(3, dtype=torch.float16)),
        }
    )
    stream = io.BytesIO()
    torch.save({"state_dict": tensors, "epoch": 3}, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


@cache
def yolo() -> bytes:
    """A YOLO of three layers."""
    import torch
    from ultralytics.nn.tasks import DetectionModel

    layers = {
        "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "C2f", [8, True]]],
        "head": [[[0, 1], 1, "Detect", ["nc"]]],
    }
    model = DetectionModel({"nc": 2, "depth_multiple": 1.0, "width_multiple": 1.0, **layers}, verbose=False)
    model.names = {0: "person", 1: "bicycle"}
    stream = io.BytesIO()
    torch.save({"epoch": 1, "model": model.half(), "ema": None}, stream)
    return stream.getvalue()


@cache
def motion_members(people: int) -> dict[str, bytes]:
    """The members of a motion file of six frames."""
    from wham_blender import motion

    count = 6
    rng = np.random.default_rng(1)
    moved = [
        motion.Motion(
            poses=rng.normal(0, 0.2, (count, 72)), trans=rng.normal(0, 1, (count, 3)), betas=np.zeros(10),
            mocap_framerate=30.0, contacts=rng.random((count, 4)), confidence=np.ones(count),
            visible=np.ones(count, bool), camera_R=np.tile(np.eye(3), (count, 1, 1)), camera_t=np.zeros((count, 3)),
            camera_K=np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]), rest_joints=rng.normal(0, 0.5, (24, 3)),
            frame=np.arange(1, count + 1), time=np.arange(count) / 30, keypoints=np.ones((count, 17, 3)),
            meta={"clip": "walk.mp4", "size": [640, 480], "fps": 30.0, "person": number},
        )
        for number in range(1, people + 1)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "motion.npz")
        motion.save(path, moved)
        return members(path.read_bytes())


def rig_map() -> str:
    """The TOML text of a bundled map with IK."""
    from wham_blender.addon.retarget import maps

    return maps.to_toml(next(each for each in maps.shipped().values() if each.ik))


def job() -> dict[str, Any]:
    """A job's record."""
    from wham_blender import protocol
    from wham_blender.addon.jobs.job_record import JobRecord, Status

    with tempfile.TemporaryDirectory() as folder:
        JobRecord(
            Path(folder), "/clips/walk.mp4", {"person": "ALL", "smooth": 0.0, "anchor": True}, Status.DONE, 1.7e9,
            1.7e9, 1.7e9, 77, "It failed.", "unexpected", ["It is dark."],
            [protocol.FoundPerson(1, 1, 9, 9, 0.5, "person-1.png")],
            {"1": "motion-1.npz"}, "k" * 16, "0" * 64, [1, 2, 3, 4], "Python 3.11",
        ).save()  # fmt: skip
        record: dict[str, Any] = json.loads(Path(folder, "job.json").read_text("utf-8"))
        return record


@cache
def lines() -> tuple[dict[str, Any], ...]:
    """Messages of the worker."""
    from wham_blender import protocol

    said: list[protocol.Message] = [
        protocol.People([protocol.FoundPerson(1, 1, 9, 9, 0.5, "person-1.png")]),
        protocol.Progress("detect", 3, 9, 0.25, 12.5), protocol.Log("kept"),
        protocol.Warn("It is dark.", "dark"),
        protocol.Clip("0" * 64), protocol.Environment("Python 3.11"),
        protocol.Failed("It failed.", "unexpected"), protocol.Done("/jobs/motion.npz"),
    ]  # fmt: skip
    return tuple(json.loads(protocol.encode(message)) for message in said)


@cache
def stage(key: str) -> dict[str, bytes]:
    """The members of a stage's file."""
    from wham_blender.pipeline.stages import cache as stages

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stage.npz")
        arrays: dict[str, np.ndarray] = {"0/boxes": np.ones((5, 3), np.float32), "name": np.array("walk")}
        stages.save(path, {**arrays, stages._KEY: np.array(key)})
        return members(path.read_bytes())


@cache
def array_file(key: str, shape: tuple[int, ...]) -> bytes:
    """A file of rows beside a stage's."""
    from wham_blender.pipeline.array_file import ArrayFile

    with tempfile.TemporaryDirectory() as folder:
        file = ArrayFile(Path(folder, "rows"), key)
        with file.writing(shape, np.float32) as append:
            append(np.ones((20, *shape), np.float32))
        return file.path.read_bytes()


@cache
def clip(name: str, codec: str, size: tuple[int, int] = (64, 48), pixels: str = "yuv420p", **options: str) -> bytes:
    """A clip of ten frames. ``name`` ends with its container's suffix; ``options``: the codec's, and ``movflags``."""
    import av

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        with av.open(
            path, "w", options={key: value for key, value in options.items() if key == "movflags"}
        ) as container:
            stream = container.add_stream(codec, 25, options=options)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = *size, pixels
            for number in range(10):
                picture = np.full((size[1], size[0], 3), 20 * number, np.uint8)
                picture[:, : 4 * number + 4] = 255 - 20 * number
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode(None))
        return path.read_bytes()


@cache
def pictures() -> tuple[bytes, ...]:
    """Small pictures of the formats of image sequences: PNG, JPEG, WebP, TIFF and EXR; the JPEG is turned by Exif."""
    import av

    image = np.zeros((32, 48, 3), np.uint8)
    image[8:24, 10:30] = 200, 120, 40
    codecs = {
        "png": "rgba", "mjpeg": "yuvj420p", "libwebp": "bgra", "tiff": "rgb48le", "exr": "gbrpf32le",
    }  # fmt: skip
    found = []
    for codec, pixels in codecs.items():
        context = av.CodecContext.create(codec, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height, context.pix_fmt, context.time_base = 48, 32, pixels, Fraction(1, 25)
        frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixels)
        found.append(b"".join(map(bytes, [*context.encode(frame), *context.encode(None)])))
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x112, 3, 1, 6, 0) + bytes(4)
    found[1] = found[1][:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + found[1][2:]
    return tuple(found)


def _atom(name: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + name + content


@cache
def quicktime() -> bytes:
    """A clip's header with a phone's focal length."""
    key = b"com.apple.quicktime.camera.focal_length.35mm_equivalent"
    keys = _atom(b"keys", bytes(4) + (1).to_bytes(4, "big") + _atom(b"mdta", key))
    value = _atom(b"data", (22).to_bytes(4, "big") + bytes(4) + (26).to_bytes(4, "big"))
    meta = _atom(b"meta", keys + _atom(b"ilst", _atom((1).to_bytes(4, "big"), value)))
    return (
        _atom(b"ftyp", b"qt  ")
        + _atom(b"moov", _atom(b"trak", _atom(b"tkhd", bytes(20)) + meta))
        + _atom(b"mdat", b"x")
    )
