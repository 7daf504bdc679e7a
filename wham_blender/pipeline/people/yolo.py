"""Detects people in a frame with a YOLO network of ultralytics, from a file that the user brings.

Such a file is a pickle of the network's objects, and loading it the usual way runs code that it names. Here only two
things are taken from the file: its tensors, and the description of the network, from which ultralytics builds a new
one. No class that the file names is instantiated, and the description may name only ultralytics' own layers.
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

NEW_TRACK_SCORE = 0.5  # WHAM's threshold for a person
_LONG_SIDE = 640  # pixels of the network's input
_MIN_SCORE = 0.1  # low, so that tracks continue while a person is half occluded
_NMS_IOU = 0.7  # of non-maximum suppression, ultralytics' default for prediction
_NETWORK_CLASSES = {
    "DetectionModel": DetectionModel, "YOLOv10DetectionModel": DetectionModel,
    "PoseModel": PoseModel, "SegmentationModel": SegmentationModel,
}  # fmt: skip
_ALLOWED_NAMES = re.compile(
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
        """Raises WeightsError if the file is no YOLO that detects people, is damaged or unsafe."""
        model, names = load(path)
        self._precision = torch.float16 if device.type == "cuda" else torch.float32
        self._model = model.fuse(verbose=False).to(device, self._precision)
        self._device = device
        self._person_classes = [number for number, name in names.items() if name == "person"]
        self._class_count = len(names)
        self._resize = LetterBox(_LONG_SIDE, auto=True, stride=int(model.stride.max()))

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """People in one frame, (H, W, 3) uint8 RGB: boxes (n, 4), scores (n,), and no keypoints (n, 0, 3)."""
        small = np.ascontiguousarray(np.asarray(self._resize(image=image)).transpose(2, 0, 1))
        pictures = torch.from_numpy(small).to(self._device, self._precision)[None] / 255
        output = self._model(pictures)
        while not isinstance(output, Tensor):  # the other outputs are masks, or for training
            output = output[0]
        (rows,) = non_max_suppression(
            output, _MIN_SCORE, _NMS_IOU, self._person_classes, nc=self._class_count,
            end2end=bool(getattr(self._model, "end2end", False)),
        )  # fmt: skip
        rows = rows.float().cpu().numpy()
        boxes = np.asarray(scale_boxes((small.shape[1], small.shape[2]), rows[:, :4], image.shape[:2]))
        return boxes, rows[:, 4], np.zeros((len(boxes), 0, 3), np.float32)


def load(path: Path) -> tuple[DetectionModel, dict[int, str]]:
    """The network in a YOLO file, float32, on the CPU, for prediction; and the names of its classes.

    Raises WeightsError if the file is no YOLO, is damaged or unsafe, or names a network that cannot be built.
    """
    found = recognise(path)
    if found.role not in ("yolo", None):
        raise WeightsError(
            f"{path.name} is {found.description}, not YOLO. Choose {published_for('yolo').name}.",
            code="weights-wrong-file",
        )
    content = read_objects(path, _stand_in)
    network = next((content[key] for key in ("ema", "model") if isinstance(content.get(key), _StateOnly)), None)
    if found.role is None or network is None:
        raise WeightsError(
            f"{path.name} is {found.description}. Choose {published_for('yolo').name}.", code="weights-wrong-file"
        )
    kind = network.kind.rpartition(".")[2]
    try:
        names = {int(number): str(name) for number, name in network.state["names"].items()}
        model = _NETWORK_CLASSES[kind](_checked(network.state["yaml"]), verbose=False)
        model.load_state_dict({name: tensor.float() for name, tensor in _tensors(network)})
    except Exception as error:  # ultralytics may raise anything for an unknown network
        reason = str(error).split("\n")[0][:160]
        raise WeightsError(
            f"{path.name} is a YOLO that this version cannot build ({kind}: {reason}). Choose "
            f"{published_for('yolo').name}, or another YOLO of ultralytics that finds boxes.",
            code="weights-unsupported",
        ) from error
    model.names = names
    return model.eval().requires_grad_(False), names


class _StateOnly:
    """Stands in for an object of the file: holds its state, and has no behaviour."""

    kind = ""  # module and name of the class

    def __init__(self, *_arguments: object, **_named: object) -> None: ...

    def __new__(cls, *_arguments: object, **_named: object) -> _StateOnly:
        self = object.__new__(cls)
        self.state = {}
        return self

    state: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        self.state = dict(state) if isinstance(state, Mapping) else {}


def _stand_in(name: str) -> Any:
    return type("StateOnly", (_StateOnly,), {"kind": name}) if _ALLOWED_NAMES.fullmatch(name) else None


def _tensors(layer: _StateOnly, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a layer and the layers within it, by their names in the ``state_dict``."""
    not_saved = layer.state.get("_non_persistent_buffers_set", ())
    for group in ("_parameters", "_buffers"):
        for name, value in layer.state.get(group, {}).items():
            if isinstance(value, Tensor) and name not in not_saved:
                yield f"{prefix}{name}", value
    for name, child in layer.state.get("_modules", {}).items():
        if isinstance(child, _StateOnly):
            yield from _tensors(child, f"{prefix}{name}.")


def _checked(description: Any) -> dict[str, Any]:
    """The description of a network; raises ValueError if it names anything but known layers."""
    for _, _, name, arguments in [*description["backbone"], *description["head"]]:
        if name not in _LAYERS | _TORCH_LAYERS:
            raise ValueError(f"it has the unknown layer {name}")
        _check_plain(arguments)
    activation = description.get("activation")
    if activation is not None and not _ACTIVATION.fullmatch(activation):
        raise ValueError(f"it has the unknown activation {activation}")
    return dict(description)


def _check_plain(value: Any) -> None:
    """Raise ValueError if a value is not a number, a string, None, or a list of such."""
    if isinstance(value, list | tuple):
        for each in value:
            _check_plain(each)
    elif not isinstance(value, int | float | str | None):
        raise ValueError(f"a layer has the argument {value}")
