"""Detects people in a frame with a YOLO network of ultralytics, from a file that the user brings.

Such a file is a pickle of the network's objects, and loading it the usual way runs code that it names. Here only two
things are taken from the file: its tensors, and the description of the network, from which ultralytics builds a new
one. No class that the file names is instantiated, and the description may name only ultralytics' own layers.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from ultralytics.data.augment import LetterBox
from ultralytics.nn import modules
from ultralytics.nn.tasks import BaseModel, DetectionModel, PoseModel, SegmentationModel, parse_model
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes

from ... import limits
from ...errors import reason
from ...restricted_pickle import Call
from ...weights import WeightsError, published_for
from ...weights.contents import recognise
from ..checkpoints import Checkpoint, read_checkpoint

NEW_TRACK_SCORE = 0.5  # WHAM's threshold for a person
_LONG_SIDE = 640  # pixels of the network's input
_MIN_SCORE = 0.1  # low, so that tracks continue while a person is half occluded
_NMS_IOU = 0.7  # of non-maximum suppression, ultralytics' default for prediction
_NETWORK_CLASSES = {
    "DetectionModel": DetectionModel, "YOLOv10DetectionModel": DetectionModel,
    "PoseModel": PoseModel, "SegmentationModel": SegmentationModel,
}  # fmt: skip
_ALLOWED_NAMES = r"(ultralytics|torch\.nn\.modules|torchvision\.transforms|numpy|pathlib|collections|builtins)\..*"
_LAYERS = {name for name, kind in vars(modules).items() if isinstance(kind, type) and issubclass(kind, nn.Module)} - {
    "TorchVision",  # which would download a network
    # These copy layers any number of times, and no YOLO that finds boxes has them.
    "RTDETRDecoder", "DeformableTransformerDecoder", "DeformableTransformerDecoderLayer",
}  # fmt: skip
_TORCH_LAYERS = {"nn.Upsample", "nn.Conv2d", "nn.ConvTranspose2d", "nn.BatchNorm2d", "nn.MaxPool2d", "nn.Identity"}
# Of the description of a network; all well above those of ultralytics' own.
_MOST_VALUES = 10_000  # numbers and texts
_LARGEST_NUMBER = 10_000.0
_LONGEST_NAME = 300  # characters
_MOST_CLASSES = 10_000
_MADE_AND_REPLACED = 4  # times as many parameters as the file has: some layers first make those of their base class
_PROBE_SIZE = 256  # pixels; the size at which ultralytics runs a new network once
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
    checkpoint = read_checkpoint(path, _ALLOWED_NAMES)
    content = checkpoint.content if isinstance(checkpoint.content, dict) else {}
    network = next((content[key] for key in ("ema", "model") if isinstance(content.get(key), Call)), None)
    if found.role is None or network is None:
        raise WeightsError(
            f"{path.name} is {found.description}. Choose {published_for('yolo').name}.", code="weights-wrong-file"
        )
    kind = network.name.rpartition(".")[2]
    try:
        names = _class_names(network)
        description = _checked(network.state["yaml"])
        tensors = dict(_tensors(checkpoint, network))
        _check_size(description, sum(tensor.numel() for tensor in tensors.values()))
        with torch.no_grad():  # it is run once, and would keep what all layers give
            model = _NETWORK_CLASSES[kind](description, verbose=False)
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except Exception as error:  # ultralytics may raise anything for an unknown network
        raise WeightsError(
            f"{path.name} is a YOLO that this version cannot build ({kind}: {reason(error)}). Choose "
            f"{published_for('yolo').name}, or another YOLO of ultralytics that finds boxes.",
            code="weights-unsupported",
        ) from error
    model.names = names
    return model.eval().requires_grad_(False), names


def _class_names(network: Call) -> dict[int, str]:
    names = network.state["names"]
    if not isinstance(names, dict) or len(names) > _MOST_CLASSES:
        raise ValueError("it names its classes in an unknown way")
    if not all(type(number) is int and isinstance(name, str) for number, name in names.items()):
        raise ValueError("it names its classes in an unknown way")
    return names


def _tensors(checkpoint: Checkpoint, network: Call) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a network and the layers within it, by their names in the ``state_dict``."""
    layers = [("", network)]
    visited = 0
    for prefix, layer in layers:
        state = layer.state if isinstance(layer.state, dict) else {}
        parameters, buffers, within = (
            items if isinstance(items := state.get(group), dict) else {}
            for group in ("_parameters", "_buffers", "_modules")
        )
        not_saved = state.get("_non_persistent_buffers_set")  # a set, which is recorded as a call with a list
        skipped = not_saved.args[0] if isinstance(not_saved, Call) and not_saved.args else []
        visited += 1 + len(parameters) + len(buffers) + len(within) + len(skipped)
        if visited > limits.NETWORK_LAYERS:  # layers may share others, or hold themselves
            raise ValueError("it has more layers than any YOLO")
        for name, value in (*parameters.items(), *buffers.items(), *within.items()):
            if not isinstance(name, str) or len(name) > _LONGEST_NAME or name in skipped:
                continue
            if (tensor := checkpoint.tensor(value)) is not None:
                yield f"{prefix}{name}", tensor
            elif isinstance(value, Call) and len(prefix) <= _LONGEST_NAME:
                layers.append((f"{prefix}{name}.", value))


def _checked(description: Any) -> dict[str, Any]:
    """A copy of the description of a network; raises ValueError if it has other things than known layers and values."""
    copy = _plain(description, iter(range(_MOST_VALUES)))
    depths = [1, copy.get("depth_multiple") or 1, *(row[0] for row in (copy.get("scales") or {}).values())]
    deepest = max(map(float, depths))
    repeats = 0.0
    for _, count, name, _arguments in [*copy["backbone"], *copy["head"]]:
        if name not in _LAYERS | _TORCH_LAYERS:
            raise ValueError(f"it has the unknown layer {str(name)[:60]}")
        repeats += max(1, int(count)) * deepest
        if repeats > limits.NETWORK_REPEATS:
            raise ValueError("it has more layers than any YOLO")
    activation = copy.get("activation")
    if activation is not None and not _ACTIVATION.fullmatch(activation):
        raise ValueError(f"it has the unknown activation {str(activation)[:60]}")
    return copy


def _plain(value: Any, left: Iterator[int], depth: int = 0) -> Any:
    """A copy of numbers, text, None, and lists and dictionaries of such; raises ValueError for others, or too many."""
    if next(left, None) is None or depth > 8:  # lists that share others, or hold themselves, would take for ever
        raise ValueError("its description is longer than that of any YOLO")
    if isinstance(value, (list, tuple)):
        return [_plain(each, left, depth + 1) for each in value]
    if isinstance(value, dict) and depth < 2:  # not in a layer's arguments
        return {key: _plain(each, left, depth + 1) for key, each in value.items()}
    if isinstance(value, str) and len(value) <= _LONGEST_NAME:
        return value
    if value is None or (isinstance(value, (int, float)) and abs(value) <= _LARGEST_NUMBER):
        return value
    raise ValueError(f"its description has a {type(value).__name__} where none belongs, or an absurd number")


def _check_size(description: dict[str, Any], numbers: int) -> None:
    """Raise ValueError if a network of that description has more parameters than ``numbers``, or is absurdly large.

    It is built and run on PyTorch's device "meta", which knows the shapes of tensors and has no memory for them.
    """
    counts, thread = Counter[str](), threading.get_ident()

    def count(what: str, number: int, most: int) -> None:
        if threading.get_ident() != thread:  # hooks are called for all modules, also those that others load meanwhile
            return
        counts[what] += number
        if counts[what] > most:
            raise ValueError(f"it has more {what} than {'its file' if what == 'parameters' else 'any YOLO'}")

    def count_layer(_module: nn.Module, _name: str, _layer: nn.Module | None) -> None:
        count("layers", 1, limits.NETWORK_LAYERS)

    def count_parameter(_module: nn.Module, _name: str, tensor: Tensor | None) -> None:
        count("parameters", 0 if tensor is None else tensor.numel(), _MADE_AND_REPLACED * numbers)

    def count_output(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            count("activations", output.numel(), limits.NETWORK_ACTIVATIONS)

    hooks = [
        torch_module.register_module_module_registration_hook(count_layer),
        torch_module.register_module_parameter_registration_hook(count_parameter),
        torch_module.register_module_buffer_registration_hook(count_parameter),
        torch_module.register_module_forward_hook(count_output),
    ]
    try:
        with torch.device("meta"), torch.no_grad():
            network = BaseModel()
            network.model, network.save = parse_model(deepcopy(description), 3, verbose=False)
            network.train()
            network(torch.zeros(1, 3, _PROBE_SIZE, _PROBE_SIZE))
    finally:
        for hook in hooks:
            hook.remove()
