"""Reads the published weight files without trusting them, and says what a file seems to be where it is the wrong one.

Only tensors are taken out of a file: code that it names is never run.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..weights import WeightsError, published_for
from ..weights.contents import Contents, is_page, look

Tensors = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)

# What training tools leave beside the tensors: settings and counters, for which an empty stand-in will do.
_HARMLESS = re.compile(
    r"(omegaconf|yacs|pytorch_lightning|lightning|lightning_fabric|numpy|typing|pathlib|argparse|mmcv|mmengine)\..*"
    r"|collections\.defaultdict|builtins\.(dict|list|tuple|set|int|float|bool|str|object)"
)


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


def load_network(path: str | Path, role: str, build: Callable[[Tensors], Network]) -> Network:
    """The network that ``build`` makes of a checkpoint's tensors.

    ``role``: of the published file that is expected. Raises WeightsError with a sentence where the file is another one,
    or damaged.
    """
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
