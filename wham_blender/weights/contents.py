"""Recognises weight files by their content, never by their name. Standard library only.

Checkpoints and SMPL files are pickles, which can run any code when they are loaded; here `restricted_pickle` reads
them, which runs none. No tensor data is read, so a file of gigabytes is recognised in a fraction of a second, and none
takes more than seconds.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import archives, limits
from ..files import open_regular
from ..restricted_pickle import Call, Reader

SUFFIXES = (
    ".pt",
    ".pth",
    ".tar",
    ".ckpt",
    ".pkl",
    ".npz",
    ".bin",
)  # of files that are checked when a folder is searched
_LONGEST_VALUE = 4096  # bytes; longer values are the content of arrays
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first object in files of PyTorch before 1.6
_SMPL_KEYS = {"v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f"}
_BODIES = {24: "smpl", 52: "SMPL+H", 55: "SMPL-X", 16: "MANO"}  # by the number of joints
_DEEPEST = 8  # wrappings of one array in others; published files have one
_FEATURES = {"wham": 1024, "vitpose": 1280, "hmr2": 1280}  # widths of the published networks


# Code that no weights need and that malicious pickles call. The worker, which loads tensors, allows only a few names.
_UNSAFE = re.compile(
    r"(os|posix|nt|sys|pty|socket|shutil|ctypes|runpy|importlib|subprocess|commands|webbrowser|code|pip)\..*"
    r"|(builtins|__builtin__)\.(eval|exec|execfile|compile|open|__import__|breakpoint|input)"
)


@dataclass(frozen=True)
class Contents:
    """The content of a file."""

    role: str | None  # yolo, vitpose, hmr2, wham or smpl; None: not used by this add-on
    description: str  # a few words: "HMR2.0 with ViT-H", "a web page"


def recognise(path: Path) -> Contents:
    """The content of the file at ``path``; damaged and unreadable files are described too."""
    try:
        with open_regular(path) as stream:
            start = stream.read(512)
            if not start:
                return Contents(None, "an empty file")
            if is_page(start):
                return Contents(None, "a web page")
            if not is_archive(start):
                stream.seek(0)
                reader = Reader(stream, os.fstat(stream.fileno()).st_size, longest=_LONGEST_VALUE)
                return _described(load(reader)[0], reader)
            if not zipfile.is_zipfile(stream):  # looks for its end
                return Contents(None, "a file that was cut off while it was copied or downloaded")
        if path.suffix == ".npz":
            return _body({name: header.shape for name, header in archives.headers(path, _SMPL_KEYS).items()})
        with archives.opened(path) as archive:
            reader = pickle_reader(archive, longest=_LONGEST_VALUE)
        return _described(reader.load(), reader)
    except MemoryError:
        return Contents(None, "a file that cannot be looked into (this computer has too little free memory)")
    except OSError as error:
        return Contents(None, f"a file that cannot be opened ({error.strerror})")
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):  # a damaged file's may be of any type
        return Contents(None, "a file of another kind, or a damaged one")


def is_page(start: bytes) -> bool:
    """Whether a file with such a beginning is a web page."""
    head = start.lstrip().lower()
    return head.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head"))


def is_archive(start: bytes) -> bool:
    """Whether a file with such a beginning is a zip archive: an ``.npz``, or of PyTorch 1.6 or newer."""
    return start.startswith(b"PK")


def pickle_reader(archive: zipfile.ZipFile, **options: Any) -> Reader:
    """A reader of the one pickle in a PyTorch file, with the options of Reader. Raises ValueError if it has none."""
    (entry,) = [each for each in archive.infolist() if each.filename.endswith("/data.pkl")]
    content = archives.content(archive, entry, limits.CHECKPOINT_PICKLE_BYTES)
    return Reader(io.BytesIO(content), len(content), **options)


def load(reader: Reader) -> tuple[Any, bool]:
    """The object in a bare pickle or in a file of PyTorch before 1.6, and whether it is the latter."""
    found = reader.load()
    if type(found) is not int or found != _LEGACY_MAGIC:
        return found, False
    reader.load()  # version of the format
    reader.load()  # the system that wrote it
    return reader.load(), True


def _described(found: Any, reader: Reader) -> Contents:
    if unsafe := min(filter(_UNSAFE.fullmatch, reader.names), default=""):
        return Contents(None, f"not safe (it asks for the code {unsafe}, and nothing of it was run)")
    return _checkpoint(found)


def _checkpoint(found: Any) -> Contents:
    if isinstance(found, dict) and found.keys() >= _SMPL_KEYS:
        return _body({name: _shape(value) for name, value in found.items()})
    if isinstance(found, dict):
        for key in ("ema", "model"):
            model = found.get(key)
            if isinstance(model, Call) and model.name.startswith(("ultralytics.", "models.")):
                return _yolo(model)
        for key in ("state_dict", "model"):
            if isinstance(found.get(key), dict):
                found = found[key]
        return _network({str(name): _shape(value) for name, value in found.items()})
    return Contents(None, "a file of another kind")


def _shape(value: Any, depth: int = 0) -> tuple[int, ...]:
    """The shape of a tensor, a parameter, an array, a sparse matrix or chumpy's wrapping of one; () where unknown."""
    if not isinstance(value, Call) or depth > _DEEPEST:
        return ()
    if value.name == "torch._utils._rebuild_parameter" and value.args:
        return _shape(value.args[0], depth + 1)
    shape: Any = ()
    if value.name.startswith(("torch._utils._rebuild_tensor", "numpy.core.numeric.", "numpy._core.numeric.")):
        shape = value.args[2] if len(value.args) > 2 else ()
    elif isinstance(value.state, tuple) and len(value.state) == 5:  # NumPy's
        shape = value.state[1]
    elif isinstance(value.state, dict):  # SciPy's and chumpy's
        shape = value.state.get("_shape", value.state.get("shape"))
        if not shape:
            return _shape(value.state.get("x"), depth + 1)
    plain = isinstance(shape, tuple) and len(shape) <= limits.ARRAY_DIMENSIONS
    return shape if plain and all(type(size) is int and 0 <= size < 1 << 48 for size in shape) else ()


def _network(shapes: dict[str, tuple[int, ...]]) -> Contents:
    """The network that has tensors of these names and shapes."""
    patch = shapes.get("backbone.patch_embed.proj.weight", ())
    if "motion_encoder.regressor.rnn.weight_hh_l0" in shapes:
        role, title = "wham", "WHAM"
        joined = shapes.get("integrator.layer1.weight", ())
        context = shapes["motion_encoder.regressor.rnn.weight_hh_l0"][1] + 51
        width = joined[1] - context if len(joined) == 2 else _FEATURES["wham"]
    elif "smpl_head.decpose.weight" in shapes:
        role, title, width = "hmr2", "HMR2.0", patch[0] if patch else 0
    elif "keypoint_head.final_layer.weight" in shapes and patch:
        role, title, width = "vitpose", "ViTPose", patch[0]
    else:
        return Contents(None, "a network that this add-on does not know")
    if width != _FEATURES[role]:
        return Contents(None, f"{title} of another size (width {width}, not {_FEATURES[role]})")
    return Contents(role, title)


def _yolo(model: Call) -> Contents:
    state = model.state if isinstance(model.state, dict) else {}
    names = state.get("names")
    if model.name.startswith("models."):
        return Contents(None, "a YOLOv5 of the old kind, which ultralytics no longer reads")
    if not model.name.rpartition(".")[2].endswith(("DetectionModel", "PoseModel", "SegmentationModel")):
        return Contents(None, "a YOLO that does not find boxes")
    if not isinstance(names, dict) or "person" not in names.values():
        return Contents(None, "a YOLO that does not know people")
    return Contents("yolo", "YOLO")


def _body(shapes: dict[str, tuple[int, ...]]) -> Contents:
    if not shapes.keys() >= _SMPL_KEYS:
        return Contents(None, "a file of arrays that is no body model")
    joints = (shapes["kintree_table"] or (2, 0))[-1]
    kind = _BODIES.get(joints, f"a body model of {joints} joints")
    if kind == "smpl":
        return Contents("smpl", "SMPL")
    return Contents(None, f"{kind}, not SMPL")
