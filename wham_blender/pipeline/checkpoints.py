"""Reads the published weight files without trusting them, and says what a file seems to be where it is the wrong one.

Only tensors are taken out of a file: code that it names is never run.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from .. import smpl_file
from ..body.body import Body
from ..models.hmr2 import HMR2
from ..models.vitpose import ViTPose
from ..models.wham import WHAM
from ..weights import WeightsError, published_for
from ..weights.contents import Contents, is_page, look

Tensors = dict[str, Tensor]
Network = TypeVar("Network", HMR2, ViTPose, WHAM)

# What training tools leave beside the tensors: settings and counters, for which an empty stand-in will do.
_HARMLESS = re.compile(
    r"(omegaconf|yacs|pytorch_lightning|lightning|lightning_fabric|numpy|typing|pathlib|argparse|mmcv|mmengine)\..*"
    r"|collections\.defaultdict|builtins\.(dict|list|tuple|set|int|float|bool|str|object)"
)
# The body in a WHAM checkpoint: smplx's names, and SMPL's.
_BODY_BUFFERS = {
    "v_template": "v_template", "shapedirs": "shapedirs", "J_regressor": "J_regressor", "weights": "lbs_weights",
    "f": "faces_tensor", **{name: name for name in smpl_file.REGRESSORS},
}  # fmt: skip


def read(path: str | Path) -> Tensors:
    """Every tensor of a checkpoint by name, memory-mapped where the file allows it: PyTorch's files, or ``.npz``.

    Raises WeightsError with a sentence where the file is damaged, unsafe or holds no tensors.
    """
    path = Path(path)
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name: torch.from_numpy(archive[name]) for name in archive.files}
        except Exception as error:  # a damaged file may raise anything
            raise _unreadable(path, error) from error
    content = read_objects(path, _settings)
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = {name: value for name, value in _items(content) if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path.name} holds no weights. Choose another file.")
    return tensors


def read_objects(path: Path, stand_in: Callable[[str], Any]) -> Any:
    """What a PyTorch file holds, ``stand_in(name)`` taking the place of every class and function that it names.

    Nothing that the file names is imported, made or called. ``stand_in`` returns None for what a file has no need of.
    Raises WeightsError with a sentence where the file is damaged, or asks for such a thing.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
        if is_page(head):
            raise WeightsError(
                f"{path.name} is a web page, not weights: the download asked for a login or a click. Open the page in "
                "a browser, download the file there, and choose that."
            )
        return _load(path, stand_in)
    except WeightsError:
        raise
    except Exception as error:  # a damaged file may raise anything
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> WeightsError:
    words = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    reason = re.split(r"\n|\.\s", words)[0][:160]
    return WeightsError(
        f"The weight file {path.name} cannot be read: it is incomplete or no PyTorch file ({reason}). Download it "
        "again, and compare its size with the page's."
    )


def _items(content: object) -> list[tuple[str, object]]:
    return [(str(name), value) for name, value in content.items()] if isinstance(content, Mapping) else []


class _Inert:
    """Stands in for settings: takes whatever it is given, and does nothing with it."""

    def __init__(self, *_arguments: object) -> None: ...

    def __setstate__(self, _state: object) -> None: ...


def _nothing(*_arguments: object) -> OrderedDict[str, object]:
    return OrderedDict()


def _settings(name: str) -> Any:
    """What stands for settings that training tools leave beside the tensors."""
    known: dict[str, Any] = {"yacs.config.CfgNode": OrderedDict, "collections.defaultdict": _nothing}
    return known.get(name, _Inert) if _HARMLESS.fullmatch(name) else None


def _load(path: Path, stand_in: Callable[[str], Any]) -> Any:
    """What PyTorch's restricted unpickler makes of a file, with stand-ins for what it does not know itself."""
    allowed: list[Any] = []
    while True:
        try:
            with torch.serialization.safe_globals(allowed):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL (\S+)", str(error))
            if not found:
                raise
            name = found[1] if "." in found[1] else f"builtins.{found[1]}"
            stands = stand_in(name)
            if stands is None or name in (known[1] for known in allowed):
                raise WeightsError(
                    f"The weight file {path.name} is not safe: it asks for the code {name}, which no weights need. "
                    "Nothing of it was run. Download the file again from its own page."
                ) from error
            allowed.append((stands, name))


def load_vitpose(path: str | Path) -> ViTPose:
    """ViTPose-H, float32, on the CPU; raises WeightsError with a sentence where the file is another."""
    return _network(path, "vitpose", ViTPose.from_state_dict)


def load_hmr2(path: str | Path) -> HMR2:
    """HMR2.0, float32, on the CPU; raises WeightsError with a sentence where the file is another."""
    return _network(path, "hmr2", HMR2.from_state_dict)


def load_wham(path: str | Path) -> WHAM:
    """WHAM's network, published, of the first training stage or ours, float32, on the CPU, in evaluation mode.

    An integrator that was never trained, as first-stage files may carry it, is left out: image features are then not
    used. Raises WeightsError with a sentence where the file is another.
    """

    def build(tensors: Tensors) -> WHAM:
        if _untrained(tensors):
            tensors = {name: value for name, value in tensors.items() if not name.startswith("integrator.")}
        return WHAM.from_state_dict({name: tensor.float() for name, tensor in tensors.items()}).eval()

    return _network(path, "wham", build)


def _network(path: str | Path, role: str, build: Callable[[Tensors], Network]) -> Network:
    path = Path(path)
    wanted = published_for(role)
    found = Contents(role, "") if path.suffix == ".npz" else look(path)
    tensors = read(path) if found.role in (role, None) else {}
    if found.role != role:
        raise WeightsError(f"{path.name} is {found.description}, not {wanted.title}. Choose {wanted.name}.")
    try:
        return build(tensors)
    except WeightsError as error:
        raise WeightsError(f"{path.name} is damaged, or another version. {error}") from error


def _untrained(tensors: Tensors) -> bool:
    """Whether the integrator is as PyTorch draws one: no number beyond 1 / sqrt(inputs), weights and biases alike.

    Training moves millions of numbers out of that range; the first stage of WHAM's has no features to train it with.
    """
    layers = sorted({name.rsplit(".", 1)[0] for name in tensors if name.startswith("integrator.")})
    drawn = [
        (tensors[f"{layer}.{part}"].abs().max() <= tensors[f"{layer}.weight"].shape[-1] ** -0.5)
        for layer in layers
        for part in ("weight", "bias")
        if f"{layer}.{part}" in tensors and f"{layer}.weight" in tensors
    ]
    return bool(drawn) and all(drawn)


def load_body(
    smpl: str | Path | None = None, wham: str | Path | None = None, regressors: Sequence[str | Path] = ()
) -> Body:
    """The body of `body_arrays`."""
    return Body(body_arrays(smpl, wham, regressors))


def body_arrays(
    smpl: str | Path | None = None, wham: str | Path | None = None, regressors: Sequence[str | Path] = ()
) -> dict[str, np.ndarray]:
    """SMPL out of its own file, or out of a WHAM checkpoint's buffers where none is given.

    WHAM's joint regressors come from the same file, from the checkpoint, or from ``regressors``, the files
    J_regressor_wham.npy and J_regressor_feet.npy. Raises WeightsError with a sentence where something is missing.
    """
    inside = _body_buffers(wham) if wham else {}
    name = Path(smpl or wham or "").name
    arrays = smpl_file.read(smpl) if smpl else smpl_file.check(inside, f"The body in {name}")
    for path in map(Path, regressors):
        for key, rows in smpl_file.REGRESSORS.items():
            if path.stem == key:
                inside[key] = _regressor(path, rows, len(arrays["v_template"]))
    for key in smpl_file.REGRESSORS:
        if key not in arrays and key in inside:
            arrays[key] = inside[key]
    missing = [key for key in smpl_file.REGRESSORS if key not in arrays]
    if missing:
        raise WeightsError(
            f"{name} lacks WHAM's joint regressors ({', '.join(missing)}). Choose a WHAM checkpoint, which carries "
            f"them, or the files {' and '.join(f'{key}.npy' for key in missing)} that come with WHAM's demo data."
        )
    if any(arrays[key].shape[1] != len(arrays["v_template"]) for key in smpl_file.REGRESSORS):
        raise WeightsError(
            f"The body in {name} and WHAM's joint regressors do not fit: they differ in the number of vertices. Choose "
            "files that were made for each other."
        )
    return arrays


def _regressor(path: Path, rows: int, vertices: int) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise WeightsError(f"The joint regressor {path.name} cannot be read ({error}). Choose another file.") from error
    if array.shape != (rows, vertices):
        raise WeightsError(
            f"The joint regressor {path.name} is {array.shape}, not {rows} x {vertices}. Choose WHAM's own file."
        )
    return array


def _body_buffers(path: str | Path) -> dict[str, np.ndarray]:
    """The body that a WHAM checkpoint carries, in SMPL's own names and shapes; what it lacks is left out."""
    tensors = {name.removeprefix("smpl."): value for name, value in read(path).items() if name.startswith("smpl.")}
    arrays = {name: tensors[buffer].numpy() for name, buffer in _BODY_BUFFERS.items() if buffer in tensors}
    if "posedirs" in tensors:  # smplx keeps them flat, the other way round
        arrays["posedirs"] = tensors["posedirs"].mT.unflatten(0, (-1, 3)).numpy()
    if "parents" in tensors:
        arrays["kintree_table"] = np.stack([tensors["parents"].numpy(), np.arange(len(tensors["parents"]))])
    return arrays
