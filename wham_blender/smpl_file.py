"""Reads SMPL body files, ``.npz`` or the ``.pkl`` of 2015, without executing code that a pickle names.

Loper et al., *SMPL: A Skinned Multi-Person Linear Model*, SIGGRAPH Asia 2015. Standard library and NumPy only, so that
the add-on and the worker both use it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from . import archives, limits
from .errors import reason
from .files import open_regular
from .restricted_pickle import Call, Name, Reader, UnsafePickle
from .weights import WeightsError

KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
REGRESSORS = {"J_regressor_wham": 31, "J_regressor_feet": 4}  # WHAM's, with their numbers of rows
# Those of SMPL-H's finger joints and fingertips; only the open body has them, and skinning weights of its fingers.
HAND_REGRESSORS = {"J_regressor_hands": 30, "J_regressor_fingertips": 10}
HAND_WEIGHTS = "weights_hands"
HAND_KEYS = (HAND_WEIGHTS, *HAND_REGRESSORS)
_OPTIONAL = (*REGRESSORS, *HAND_KEYS)
JOINTS = 24
_CORRECTIVES = 9 * (JOINTS - 1)  # columns of posedirs
_CHOOSE = "Choose SMPL_NEUTRAL.pkl (or .npz) from smpl.is.tue.mpg.de."
# Other body models of the same authors, by vertices and joints.
_OTHERS = {
    (10475, 55): "SMPL-X", (6890, 52): "SMPL+H", (778, 16): "MANO (a hand)", (5023, 5): "FLAME (a head)",
    (3889, 33): "SMAL (an animal)", (3889, 35): "SMAL (an animal)",
}  # fmt: skip


def read(path: str | Path) -> dict[str, np.ndarray]:
    """SMPL's arrays, KEYS, and those of REGRESSORS and HAND_KEYS that the file has, from a ``.pkl`` or ``.npz``.

    Raises WeightsError if the file is damaged, unsafe or another body.
    """
    path = Path(path)
    try:
        with open_regular(path) as stream:
            zipped = stream.read(2) == b"PK"
        return check(_read_npz(path) if zipped else _read_pickle(path), path.name)
    except WeightsError:
        raise
    except UnsafePickle as error:
        raise WeightsError(
            f"The body file {path.name} is not safe: it asks for the code {error}, which no SMPL file needs. Nothing "
            f"of it was run. {_CHOOSE}",
            code="body-unsafe",
        ) from error
    except MemoryError as error:
        raise WeightsError(
            f"The body file {path.name} cannot be read: this computer has too little free memory. Close other "
            "programs, and try again.",
            code="out-of-memory",
        ) from error
    except (OSError, LookupError, TypeError, ValueError) as error:  # UnreadableArchive and PickleError among them
        raise WeightsError(
            f"The body file {path.name} cannot be read: it is no SMPL file, or incomplete ({reason(error)}). {_CHOOSE}",
            code="body-unreadable",
        ) from error


def check(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The arrays of KEYS, REGRESSORS and HAND_KEYS after a check that they are a body in SMPL's format.

    It has 24 joints and V vertices.
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
        **{key: (rows, vertices) for key, rows in (REGRESSORS | HAND_REGRESSORS).items() if key in arrays},
        **({HAND_WEIGHTS: (vertices, HAND_REGRESSORS["J_regressor_hands"])} if HAND_WEIGHTS in arrays else {}),
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
    return archives.arrays(path, (*KEYS, *_OPTIONAL))


# NumPy's functions, whose module changed with NumPy 2, and SciPy's and chumpy's classes. Only their records are used.
_MAKES_ARRAY = re.compile(r"numpy\._?core\.multiarray\._reconstruct")
_MAKES_ARRAY_OF_BUFFER = re.compile(r"numpy\._?core\.numeric\._frombuffer")
_MAKES_SCALAR = re.compile(r"numpy\._?core\.multiarray\.scalar")
_SPARSE = re.compile(r"scipy\.sparse\.(?:_?cs[cr]\.)?(cs[cr])_(?:matrix|array)")
_CHUMPY = re.compile(r"chumpy\.(ch\.Ch|reordering\.Select)")
_ALLOWED = re.compile(
    r"numpy\.(ndarray|dtype)|copyreg\._reconstructor|builtins\.(object|set|bytes|bytearray)|_codecs\.encode|"
    + "|".join(kind.pattern for kind in (_MAKES_ARRAY, _MAKES_ARRAY_OF_BUFFER, _MAKES_SCALAR, _SPARSE, _CHUMPY))
)
_DTYPE = re.compile(r"[biufU]\d{1,5}")
_DEEPEST = 8  # selections from selections; published files have one


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    with open_regular(path) as stream:
        data = Reader(stream, os.fstat(stream.fileno()).st_size, _ALLOWED.fullmatch).load()
    if not isinstance(data, dict):
        raise ValueError("it holds no named arrays")
    arrays = _Arrays()
    return {key: arrays.read(data[key]) for key in (*KEYS, *_OPTIONAL) if key in data}


class _Arrays:
    """Makes arrays from the records of a pickle.

    No state of the pickle reaches NumPy's own ``__setstate__``, which trusts it: with crafted flags, bytes become
    Python objects.
    """

    def __init__(self) -> None:
        self._computed = 0  # bytes

    def read(self, record: object, depth: int = 0) -> np.ndarray:
        """The array of a record: an array, a sparse matrix or an array of chumpy; read-only. Raises ValueError."""
        if not isinstance(record, Call) or depth > _DEEPEST:
            raise ValueError("it holds no array where one belongs")
        name = record.name
        if _MAKES_ARRAY.fullmatch(name) and isinstance(record.state, tuple) and len(record.state) in (4, 5):
            shape, dtype, fortran, content = record.state[-4:]
            return self._plain(shape, dtype, content, "F" if fortran is True or fortran == 1 else "C")
        if _MAKES_ARRAY_OF_BUFFER.fullmatch(name) and len(record.args) == 4:
            content, dtype, shape, order = record.args
            return self._plain(shape, dtype, content, "F" if order == "F" else "C")
        if _MAKES_SCALAR.fullmatch(name) and len(record.args) == 2:
            return self._plain((), record.args[0], record.args[1], "C")
        if name == "copyreg._reconstructor" and record.args and isinstance(record.args[0], Name):
            name = record.args[0].text  # protocols 0 and 1
        if not isinstance(record.state, dict):
            raise ValueError("it holds no array where one belongs")
        if match := _SPARSE.fullmatch(name):
            return self._dense(record.state, by_rows=match[1] == "csr")
        if _CHUMPY.fullmatch(name):
            return self._chumpy(record.state, depth)
        raise ValueError("it holds no array where one belongs")

    def _count(self, size: int) -> None:
        """Count the bytes of an array before it is computed."""
        self._computed += size
        if self._computed > limits.COMPUTED_BYTES:
            raise ValueError("its arrays are larger than those of any body")

    def _plain(self, shape: object, dtype: object, content: object, order: Literal["C", "F"]) -> np.ndarray:
        if isinstance(content, str):
            content = content.encode("latin1")  # as Python 2 writes bytes
        if not isinstance(content, bytes):
            raise ValueError("an array holds other things than numbers and text")
        header = archives.checked_header(_dtype(dtype), self._shape(shape), order == "F")
        if header.bytes != len(content):
            raise ValueError("an array has another size than its shape says")
        array = np.frombuffer(content, header.dtype).reshape(header.shape, order=order)
        if array.dtype.isnative:
            return array
        self._count(len(content))
        return array.astype(array.dtype.newbyteorder("="))

    def _shape(self, record: object) -> tuple[int, ...]:
        if not isinstance(record, (tuple, list)) or len(record) > limits.ARRAY_DIMENSIONS:
            raise ValueError("an array has no shape")
        return tuple(map(self._integer, record))

    def _integer(self, record: object) -> int:
        if isinstance(record, Call) and _MAKES_SCALAR.fullmatch(record.name):
            array = self.read(record)
            record = int(array) if array.dtype.kind in "iu" else None
        if not isinstance(record, int) or isinstance(record, bool):
            raise ValueError("a size is no integer")
        return record

    def _integers(self, record: object) -> np.ndarray:
        array = self.read(record)
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise ValueError("indices are no integers")
        return array

    def _dense(self, state: dict[Any, Any], *, by_rows: bool) -> np.ndarray:
        """SciPy's compressed sparse matrix as an array."""
        rows, columns = self._shape(state.get("_shape", state.get("shape")))
        data = self.read(state["data"])
        inner, pointers = self._integers(state["indices"]), self._integers(state["indptr"])
        outer_size, inner_size = (rows, columns) if by_rows else (columns, rows)
        fits = rows >= 0 and columns >= 0 and len(pointers) == outer_size + 1
        if not fits or data.ndim != 1 or data.dtype.kind not in "biuf":
            raise ValueError("a matrix does not fit its shape")
        used = int(pointers[-1])
        self._count(8 * (rows * columns + 2 * len(pointers) + len(inner)))
        steps: np.ndarray = np.diff(pointers.astype(np.int64))
        if pointers[0] != 0 or (steps < 0).any() or used > min(len(data), len(inner)):
            raise ValueError("a matrix is damaged")
        inner = inner[:used]
        if used and (inner.min() < 0 or inner.max() >= inner_size):
            raise ValueError("a matrix has an index outside of its shape")
        outer = np.repeat(np.arange(outer_size), steps)
        matrix = np.zeros((rows, columns))
        np.add.at(matrix, (outer, inner) if by_rows else (inner, outer), data[:used])
        return matrix

    def _chumpy(self, state: dict[Any, Any], depth: int) -> np.ndarray:
        """chumpy's array: its value, or a selection from another array."""
        if "x" in state:
            return self.read(state["x"], depth + 1)
        values, chosen = self.read(state["a"], depth + 1).ravel(), self._integers(state["idxs"])
        self._count(len(chosen) * (8 + values.itemsize) + values.nbytes)
        return values[chosen].reshape(self._shape(state.get("preferred_shape", (len(chosen),))))


def _dtype(record: object) -> str:
    """The plain type of elements of a recorded ``numpy.dtype``: "<f8". Raises ValueError for any other."""
    if isinstance(record, Call) and record.name == "numpy.dtype" and record.args and isinstance(record.state, tuple):
        kind, (order, *parts) = record.args[0], record.state[1:5]
        plain = all(part is None for part in parts)  # neither an array nor a structure
        if isinstance(kind, str) and _DTYPE.fullmatch(kind) and order in ("<", ">", "|") and plain:
            return f"{order}{kind}"
    raise ValueError("an array holds other things than numbers and text")
