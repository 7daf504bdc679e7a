"""Reads the tensors of published weight files safely, and says what a file is if it is the wrong one.

Only tensors are taken from a file: code that it names is never run.
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
from ..weights.contents import Contents, is_page, recognise

Tensors = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)

# Classes that training tools store beside the tensors (settings, counters); an empty stand-in takes their place.
_TRAINING_CLASSES = re.compile(
    r"(omegaconf|yacs|pytorch_lightning|lightning|lightning_fabric|numpy|typing|pathlib|argparse|mmcv|mmengine)\..*"
    r"|collections\.defaultdict|builtins\.(dict|list|tuple|set|int|float|bool|str|object)"
)


def read(path: str | Path) -> Tensors:
    """Every tensor of a checkpoint (a PyTorch file or ``.npz``) by name, memory-mapped if the file allows it.

    Raises WeightsError if the file is damaged, unsafe or holds no tensors.
    """
    path = Path(path)
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                return {name: torch.from_numpy(archive[name]) for name in archive.files}
        except Exception as error:  # a damaged file may raise anything
            raise _unreadable(path, error) from error
    content = read_objects(path, _training_stand_in)
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = {name: value for name, value in _items(content) if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path.name} holds no weights. Choose another file.", code="weights-wrong-file")
    return tensors


def read_objects(path: Path, stand_in: Callable[[str], Any]) -> Any:
    """The objects in a PyTorch file, with ``stand_in(name)`` in place of every class and function that it names.

    Nothing that the file names is imported, instantiated or called. ``stand_in`` returns None for a name that weights
    do not need. Raises WeightsError if the file is damaged, or asks for such a name.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
        if is_page(head):
            raise WeightsError(
                f"{path.name} is a web page, not weights: the download asked for a login or a click. Open the page in "
                "a browser, download the file there, and choose that.",
                code="weights-web-page",
            )
        return _load(path, stand_in)
    except WeightsError:
        raise
    except Exception as error:  # a damaged file may raise anything
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> WeightsError:
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    reason = re.split(r"\n|\.\s", text)[0][:160]
    return WeightsError(
        f"The weight file {path.name} cannot be read: it is incomplete or no PyTorch file ({reason}). Download it "
        "again, and compare its size with the page's.",
        code="weights-damaged",
    )


def _items(content: object) -> list[tuple[str, object]]:
    return [(str(name), value) for name, value in content.items()] if isinstance(content, Mapping) else []


class _Ignored:
    """Stands in for a settings object: accepts any arguments and ignores them."""

    def __init__(self, *_arguments: object) -> None: ...

    def __setstate__(self, _state: object) -> None: ...


def _empty_dict(*_arguments: object) -> OrderedDict[str, object]:
    return OrderedDict()


def _training_stand_in(name: str) -> Any:
    """The stand-in for a class that training tools store beside the tensors; None for any other name."""
    special: dict[str, Any] = {"yacs.config.CfgNode": OrderedDict, "collections.defaultdict": _empty_dict}
    return special.get(name, _Ignored) if _TRAINING_CLASSES.fullmatch(name) else None


def _load(path: Path, stand_in: Callable[[str], Any]) -> Any:
    """The content of a file by PyTorch's restricted unpickler, with stand-ins for the names that it does not allow."""
    allowed: list[Any] = []
    while True:
        try:
            with torch.serialization.safe_globals(allowed):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except pickle.UnpicklingError as error:
            match = re.search(r"GLOBAL (\S+)", str(error))
            if not match:
                raise
            name = match[1] if "." in match[1] else f"builtins.{match[1]}"
            replacement = stand_in(name)
            if replacement is None or name in (entry[1] for entry in allowed):
                raise WeightsError(
                    f"The weight file {path.name} is not safe: it asks for the code {name}, which no weights need. "
                    "Nothing of it was run. Download the file again from its own page.",
                    code="weights-unsafe",
                ) from error
            allowed.append((replacement, name))


def load_network(path: str | Path, role: str, build: Callable[[Tensors], Network]) -> Network:
    """The network that ``build`` constructs from a checkpoint's tensors.

    ``role``: of the published file that is expected. Raises WeightsError if the file is another one, or damaged.
    """
    path = Path(path)
    expected = published_for(role)
    found = Contents(role, "") if path.suffix == ".npz" else recognise(path)
    tensors = read(path) if found.role in (role, None) else {}
    if found.role != role:
        raise WeightsError(
            f"{path.name} is {found.description}, not {expected.title}. Choose {expected.name}.",
            code="weights-wrong-file",
        )
    try:
        return build(tensors)
    except WeightsError as error:
        raise WeightsError(f"{path.name} is damaged, or another version. {error}", code="weights-damaged") from error
