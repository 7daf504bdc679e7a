"""Recognises weight files by their content, never by their name. Standard library only.

Checkpoints and SMPL files are pickles, which can run any code when they are loaded. Here nothing that a pickle names is
imported or called: placeholders stand for all its classes and keep their arguments. No tensor data is read, so a file
of gigabytes is recognised in a fraction of a second.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = (
    ".pt",
    ".pth",
    ".tar",
    ".ckpt",
    ".pkl",
    ".npz",
    ".bin",
)  # of files that are checked when a folder is searched
_LARGEST_PICKLE = 1 << 30  # bytes; SMPL with all its shapes has 250 million
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first object in files of PyTorch before 1.6
_SMPL_KEYS = {"v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f"}
_BODIES = {24: "smpl", 52: "SMPL+H", 55: "SMPL-X", 16: "MANO"}  # by the number of joints
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
        with path.open("rb") as stream:
            start = stream.read(512)
            if not start:
                return Contents(None, "an empty file")
            if is_page(start):
                return Contents(None, "a web page")
            if path.suffix == ".npz":
                return _body(_array_shapes(path))
            named: dict[str, type] = {}
            found = _load(stream, named)
            if unsafe := next(filter(_UNSAFE.fullmatch, named), ""):
                return Contents(None, f"not safe (it asks for the code {unsafe}, and nothing of it was run)")
            return _checkpoint(found)
    except OSError as error:
        return Contents(None, f"a file that cannot be opened ({error.strerror})")
    except zipfile.BadZipFile:
        return Contents(None, "a file that was cut off while it was copied or downloaded")
    except Exception:  # an arbitrary file can make an unpickler raise anything
        return Contents(None, "a file of another kind, or a damaged one")


def is_page(start: bytes) -> bool:
    """Whether a file with such a beginning is a web page."""
    head = start.lstrip().lower()
    return head.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head"))


class _Placeholder:
    """Stands for an object of any class in a pickle, and keeps its arguments and state."""

    kind = ""  # module and name of the class
    state: Any = None

    def __new__(cls, *args: Any, **_kwargs: Any) -> _Placeholder:
        self = object.__new__(cls)
        self.args = args
        self.items = {}
        return self

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        self.args: tuple[Any, ...]
        self.items: dict[Any, Any]

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def __hash__(self) -> int:
        return id(self)

    def append(self, value: Any) -> None:
        self.items[len(self.items)] = value

    def extend(self, values: Any) -> None:
        for value in values:
            self.append(value)

    add = append


class _Dictionary(dict[Any, Any]):
    """An ordered dictionary, which may carry attributes."""


class _Reader(pickle.Unpickler):
    """Reads a pickle of any origin without running any code of it."""

    def __init__(self, stream: Any, classes: dict[str, type]) -> None:
        """classes: is filled with the classes that the pickle names, and their placeholders."""
        super().__init__(stream, encoding="latin1")
        self._classes = classes

    def find_class(self, module: str, name: str) -> Any:
        """A plain dictionary for an ordered one; for everything else a class of placeholders."""
        kind = f"{module}.{name}"
        if kind == "collections.OrderedDict":
            return _Dictionary
        return self._classes.setdefault(kind, type("Placeholder", (_Placeholder,), {"kind": kind}))

    def persistent_load(self, pid: Any) -> Any:
        """A tensor's storage, which is not read; old files name a module's class in this way too."""
        return pid[1] if isinstance(pid, tuple) and pid[0] == "module" else None


def _load(stream: Any, named: dict[str, type]) -> Any:
    """The object in a PyTorch file, old or new, or in a bare pickle; named: see _Reader."""
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as archive:
            (entry,) = [each for each in archive.infolist() if each.filename.endswith("/data.pkl")]
            if entry.file_size > _LARGEST_PICKLE:
                raise ValueError("too large")
            return _Reader(io.BytesIO(archive.read(entry)), named).load()
    stream.seek(0)
    if stream.read(4) == b"PK\x03\x04":
        raise zipfile.BadZipFile
    stream.seek(0)
    found = _Reader(stream, named).load()
    if found == _LEGACY_MAGIC:
        for _ in range(2):  # protocol version and system information
            _Reader(stream, named).load()
        found = _Reader(stream, named).load()
    return found


def _checkpoint(found: Any) -> Contents:
    if isinstance(found, dict) and found.keys() >= _SMPL_KEYS:
        return _body({name: _shape(value) for name, value in found.items()})
    if isinstance(found, dict):
        for key in ("ema", "model"):
            model = found.get(key)
            if isinstance(model, _Placeholder) and model.kind.startswith(("ultralytics.", "models.")):
                return _yolo(model)
        for key in ("state_dict", "model"):
            if isinstance(found.get(key), dict):
                found = found[key]
        return _network({str(name): _shape(value) for name, value in found.items()})
    return Contents(None, "a file of another kind")


def _shape(value: Any) -> tuple[int, ...]:
    """The shape of a tensor, a parameter, an array, a sparse matrix or chumpy's wrapping of one; () where unknown."""
    if not isinstance(value, _Placeholder):
        return ()
    if value.kind == "torch._utils._rebuild_parameter":
        return _shape(value.args[0])
    if value.kind.startswith("torch._utils._rebuild_tensor"):
        return tuple(value.args[2])
    if isinstance(value.state, tuple) and len(value.state) == 5:  # NumPy's
        return tuple(value.state[1])
    if isinstance(value.state, dict):
        shape = value.state.get("_shape", value.state.get("shape"))
        return tuple(shape) if shape else _shape(value.state.get("x"))
    return ()


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


def _yolo(model: _Placeholder) -> Contents:
    state = model.state if isinstance(model.state, dict) else {}
    names = state.get("names")
    if model.kind.startswith("models."):
        return Contents(None, "a YOLOv5 of the old kind, which ultralytics no longer reads")
    if not model.kind.rpartition(".")[2].endswith(("DetectionModel", "PoseModel", "SegmentationModel")):
        return Contents(None, "a YOLO that does not find boxes")
    if not isinstance(names, dict) or "person" not in names.values():
        return Contents(None, "a YOLO that does not know people")
    return Contents("yolo", "YOLO")


def _array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays in an ``.npz``, from their headers."""
    from numpy.lib import format as npy  # only here: loading NumPy is not needed otherwise

    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            with archive.open(entry) as stream:
                version = npy.read_magic(stream)
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shapes[entry.removesuffix(".npy")] = read(stream)[0]
    return shapes


def _body(shapes: dict[str, tuple[int, ...]]) -> Contents:
    if not shapes.keys() >= _SMPL_KEYS:
        return Contents(None, "a file of arrays that is no body model")
    joints = (shapes["kintree_table"] or (2, 0))[-1]
    kind = _BODIES.get(joints, f"a body model of {joints} joints")
    if kind == "smpl":
        return Contents("smpl", "SMPL")
    return Contents(None, f"{kind}, not SMPL")
