"""Finds people in a frame with a YOLO of ultralytics, any that the user has.

Such a file is a pickle of the whole network with its classes, and the usual way to read it runs what it says. Here the
file gives two things only: its tensors, and the description of the network, from which ultralytics builds one anew. Of
the classes that the file names none is made, and the description may name nothing but ultralytics' own layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from ultralytics.data.augment import LetterBox
from ultralytics.nn import modules
from ultralytics.nn.tasks import DetectionModel, PoseModel, SegmentationModel
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes

from ...weights import WeightsError, published_for
from ...weights.contents import recognise
from ..checkpoints import read_objects

NEW_TRACK_SCORE = 0.5  # from which WHAM takes a person for one
_SIDE = 640  # pixels, the longer of the network's input
_LEAST_SCORE = 0.1  # for who was found before and is half hidden now
_OVERLAP = 0.7  # intersection over union from which two boxes are one, ultralytics' own for prediction
_KINDS = {
    "DetectionModel": DetectionModel, "YOLOv10DetectionModel": DetectionModel,
    "PoseModel": PoseModel, "SegmentationModel": SegmentationModel,
}  # fmt: skip
_FOREIGN = re.compile(
    r"(ultralytics|torch\.nn\.modules|torchvision\.transforms|numpy|pathlib|collections|builtins)\..*"
)
_LAYERS = {name for name, kind in vars(modules).items() if isinstance(kind, type) and issubclass(kind, nn.Module)} - {
    "TorchVision"
}  # which would download a network
_TORCH_LAYERS = {"nn.Upsample", "nn.Conv2d", "nn.ConvTranspose2d", "nn.BatchNorm2d", "nn.MaxPool2d", "nn.Identity"}
_ACTIVATION = re.compile(r"(torch\.)?nn\.[A-Z]\w*\([-\w.,= ]*\)")


class Yolo:
    """A YOLO on its device; half precision on a CUDA card."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Raises WeightsError with a sentence where the file is no YOLO that finds people, damaged or unsafe."""
        model, names = load(path)
        self._precision = torch.float16 if device.type == "cuda" else torch.float32
        self._model = model.fuse(verbose=False).to(device, self._precision)
        self._device = device
        self._people = [number for number, name in names.items() if name == "person"]
        self._classes = len(names)
        self._fit = LetterBox(_SIDE, auto=True, stride=int(model.stride.max()))

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """People in one frame, (H, W, 3) uint8 RGB: boxes (n, 4), scores (n,), and no keypoints (n, 0, 3)."""
        small = np.ascontiguousarray(np.asarray(self._fit(image=image)).transpose(2, 0, 1))
        pictures = torch.from_numpy(small).to(self._device, self._precision)[None] / 255
        found = self._model(pictures)
        while not isinstance(found, Tensor):  # what else there is was for training, or of masks
            found = found[0]
        (rows,) = non_max_suppression(
            found, _LEAST_SCORE, _OVERLAP, self._people, nc=self._classes,
            end2end=bool(getattr(self._model, "end2end", False)),
        )  # fmt: skip
        rows = rows.float().cpu().numpy()
        boxes = np.asarray(scale_boxes((small.shape[1], small.shape[2]), rows[:, :4], image.shape[:2]))
        return boxes, rows[:, 4], np.zeros((len(boxes), 0, 3), np.float32)


def load(path: Path) -> tuple[DetectionModel, dict[int, str]]:
    """The network in a YOLO file, float32, on the CPU, for prediction; and what its classes are called."""
    found = recognise(path)
    if found.role not in ("yolo", None):
        raise WeightsError(f"{path.name} is {found.description}, not YOLO. Choose {published_for('yolo').name}.")
    content = read_objects(path, _stand_in)
    kept = next((content[key] for key in ("ema", "model") if isinstance(content.get(key), _Kept)), None)
    if found.role is None or kept is None:
        raise WeightsError(f"{path.name} is {found.description}. Choose {published_for('yolo').name}.")
    kind = kept.kind.rpartition(".")[2]
    try:
        names = {int(number): str(name) for number, name in kept.state["names"].items()}
        model = _KINDS[kind](_checked(kept.state["yaml"]), verbose=False)
        model.load_state_dict({name: tensor.float() for name, tensor in _tensors(kept)})
    except Exception as error:  # whatever ultralytics says to a network that it does not know
        reason = str(error).split("\n")[0][:160]
        raise WeightsError(
            f"{path.name} is a YOLO that this version cannot build ({kind}: {reason}). Choose "
            f"{published_for('yolo').name}, or another YOLO of ultralytics that finds boxes."
        ) from error
    model.names = names
    return model.eval().requires_grad_(False), names


class _Kept:
    """Stands for an object of the network's: keeps its state, and can do nothing."""

    kind = ""  # module and name of the class

    def __init__(self, *_arguments: object, **_named: object) -> None: ...

    def __new__(cls, *_arguments: object, **_named: object) -> _Kept:
        self = object.__new__(cls)
        self.state = {}
        return self

    state: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        self.state = dict(state) if isinstance(state, Mapping) else {}


def _stand_in(name: str) -> Any:
    return type("Kept", (_Kept,), {"kind": name}) if _FOREIGN.fullmatch(name) else None


def _tensors(kept: _Kept, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """What the state of a network's layers holds, by the names that its ``state_dict`` has."""
    fleeting = kept.state.get("_non_persistent_buffers_set", ())
    for group in ("_parameters", "_buffers"):
        for name, value in kept.state.get(group, {}).items():
            if isinstance(value, Tensor) and name not in fleeting:
                yield f"{prefix}{name}", value
    for name, layer in kept.state.get("_modules", {}).items():
        if isinstance(layer, _Kept):
            yield from _tensors(layer, f"{prefix}{name}.")


def _checked(description: Any) -> dict[str, Any]:
    """The description of a network; raises ValueError where it asks for anything but ultralytics' layers."""
    for _, _, name, arguments in [*description["backbone"], *description["head"]]:
        if name not in _LAYERS | _TORCH_LAYERS:
            raise ValueError(f"it has the unknown layer {name}")
        _plain(arguments)
    activation = description.get("activation")
    if activation is not None and not _ACTIVATION.fullmatch(activation):
        raise ValueError(f"it has the unknown activation {activation}")
    return dict(description)


def _plain(value: Any) -> None:
    """Raise ValueError where a value is no number, word, or list of such."""
    if isinstance(value, list | tuple):
        for each in value:
            _plain(each)
    elif not isinstance(value, int | float | str | None):
        raise ValueError(f"a layer has the argument {value}")
