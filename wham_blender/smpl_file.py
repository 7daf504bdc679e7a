"""Reads SMPL body files, ``.npz`` or the ``.pkl`` of 2015, without executing code that a pickle names.

Loper et al., *SMPL: A Skinned Multi-Person Linear Model*, SIGGRAPH Asia 2015. Standard library and NumPy only, so that
the add-on and the worker both use it.
"""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .weights import WeightsError

KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
REGRESSORS = {"J_regressor_wham": 31, "J_regressor_feet": 4}  # WHAM's, with their numbers of rows
JOINTS = 24
_CORRECTIVES = 9 * (JOINTS - 1)  # columns of posedirs
_CHOOSE = "Choose SMPL_NEUTRAL.pkl (or .npz) from smpl.is.tue.mpg.de."
# Other body models of the same authors, by vertices and joints.
_OTHERS = {
    (10475, 55): "SMPL-X", (6890, 52): "SMPL+H", (778, 16): "MANO (a hand)", (5023, 5): "FLAME (a head)",
    (3889, 33): "SMAL (an animal)", (3889, 35): "SMAL (an animal)",
}  # fmt: skip


def read(path: str | Path) -> dict[str, np.ndarray]:
    """SMPL's arrays, KEYS, and those of REGRESSORS that the file has, from a ``.pkl`` or ``.npz``.

    Raises WeightsError if the file is damaged, unsafe or another body.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"PK"
        return check(_read_npz(path) if zipped else _read_pickle(path), path.name)
    except WeightsError:
        raise
    except _Refused as error:
        raise WeightsError(
            f"The body file {path.name} is not safe: it asks for the code {error}, which no SMPL file needs. Nothing "
            f"of it was run. {_CHOOSE}",
            code="body-unsafe",
        ) from error
    except Exception as error:  # a damaged pickle may raise anything
        raise WeightsError(
            f"The body file {path.name} cannot be read: it is no SMPL file, or incomplete ({error}). {_CHOOSE}",
            code="body-unreadable",
        ) from error


def check(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The arrays of KEYS and REGRESSORS after a check that they are a body in SMPL's format: 24 joints, V vertices.

    Raises WeightsError if not, with a sentence that says what the file ``name`` seems to be.
    """
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise WeightsError(f"{name} is no SMPL body: it lacks {', '.join(missing)}. {_CHOOSE}", code="body-not-smpl")
    vertices, joints = len(arrays["v_template"]), len(arrays["J_regressor"])
    if joints != JOINTS:
        kind = _OTHERS.get((vertices, joints), "some other body")
        raise WeightsError(
            f"{name} is {kind} ({vertices} vertices, {joints} joints), but WHAM needs SMPL (6890 vertices, 24 joints). "
            + _CHOOSE,
            code="body-not-smpl",
        )
    shapes = {
        "v_template": (vertices, 3), "shapedirs": (vertices, 3, None), "posedirs": (vertices, 3, _CORRECTIVES),
        "J_regressor": (JOINTS, vertices), "weights": (vertices, JOINTS), "kintree_table": (2, JOINTS), "f": (None, 3),
        **{key: (rows, vertices) for key, rows in REGRESSORS.items() if key in arrays},
    }  # fmt: skip
    for key, shape in shapes.items():
        array = arrays[key]
        if len(shape) != array.ndim or any(
            expected not in (None, size) for expected, size in zip(shape, array.shape, strict=True)
        ):
            expected = " x ".join("any" if size is None else str(size) for size in shape)
            raise WeightsError(
                f"{name} is no SMPL body: {key} is {array.shape}, not {expected}. {_CHOOSE}", code="body-not-smpl"
            )
        if array.dtype.kind not in "fiu":
            raise WeightsError(f"{name} is no SMPL body: {key} does not hold numbers. {_CHOOSE}", code="body-not-smpl")
    return {key: arrays[key] for key in shapes}


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in (*KEYS, *REGRESSORS) if key in archive.files}


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as stream:
        data = _Unpickler(stream, encoding="latin1").load()
    if not isinstance(data, Mapping):
        raise ValueError("it holds no named arrays")
    return {key: _dense(data[key]) for key in (*KEYS, *REGRESSORS) if key in data}


class _Refused(Exception):
    """A pickle names a class or function that is not allowed; the text is its name."""


class _State:
    """Stands in for an object of SciPy or chumpy: keeps the state from the pickle, and has no behaviour."""

    def __init__(self, *_arguments: object) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = dict(state)


class _Sparse(_State):
    """SciPy's compressed sparse matrix, by columns."""

    by_rows = False

    def dense(self) -> np.ndarray:
        """The matrix as an array."""
        shape = self.state["_shape"] if "_shape" in self.state else self.state["shape"]
        data, inner, pointers = (np.asarray(self.state[key]) for key in ("data", "indices", "indptr"))
        outer = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
        matrix = np.zeros(tuple(int(size) for size in shape))
        np.add.at(matrix, (outer, inner) if self.by_rows else (inner, outer), data)
        return matrix


class _SparseRows(_Sparse):
    """The same by rows."""

    by_rows = True


class _Chumpy(_State):
    """chumpy's array: its value, or a selection from another array."""

    def dense(self) -> np.ndarray:
        """The value."""
        if "x" in self.state:
            return _dense(self.state["x"])
        chosen = _dense(self.state["a"]).ravel()[np.asarray(self.state["idxs"])]
        return chosen.reshape(self.state.get("preferred_shape", chosen.shape))


def _dense(value: object) -> np.ndarray:
    return value.dense() if isinstance(value, (_Sparse, _Chumpy)) else np.asarray(value)


def _reconstruct(kind: type, _base: type, _state: object) -> object:
    """copyreg's function that makes an object, which accepts the stand-ins only."""
    if not issubclass(kind, _State):
        raise _Refused(f"copyreg._reconstructor of {kind.__name__}")
    return kind()


def _encode(text: str, encoding: str) -> bytes:
    """_codecs.encode, by which Python 3 writes bytes into old pickles."""
    return text.encode("latin1" if encoding == "latin1" else "ascii")


_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # since Python 2
_MULTIARRAY = sys.modules[np.ndarray.__reduce__(np.zeros(1))[0].__module__]  # its name changed with NumPy 2


class _Unpickler(pickle.Unpickler):
    """Accepts NumPy's arrays and the stand-ins; raises _Refused for any other class or function."""

    def find_class(self, module: str, name: str) -> Any:
        """The class or function that replaces ``module.name``."""
        known = {
            "numpy.ndarray": np.ndarray, "numpy.dtype": np.dtype, "copyreg._reconstructor": _reconstruct,
            "builtins.object": object, "builtins.set": set, "_codecs.encode": _encode,
            "chumpy.ch.Ch": _Chumpy, "chumpy.reordering.Select": _Chumpy,
        }  # fmt: skip
        full = f"{_RENAMED.get(module, module)}.{name}"
        if full in known:
            return known[full]
        if re.fullmatch(r"numpy\.(_?core)\.multiarray\.(_reconstruct|scalar)", full):
            return getattr(_MULTIARRAY, name)
        if re.fullmatch(r"scipy\.sparse\.(_?csc\.)?csc_(matrix|array)", full):
            return _Sparse
        if re.fullmatch(r"scipy\.sparse\.(_?csr\.)?csr_(matrix|array)", full):
            return _SparseRows
        raise _Refused(full)
