"""Runs ViTPose or HMR2.0 on batches of crops and their mirror images (flip test).

The transformer runs in half precision on a CUDA card. The small heads behind it stay in single precision, and so does
everything on the CPU.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...models import vit
from ...models.hmr2 import HMR2
from ...models.vitpose import ViTPose
from .. import cuda
from ..errors import PipelineError
from . import person_crops

Log = Callable[[str], None]
CROP = (vit.HEIGHT, vit.WIDTH, 3)  # shape of the networks' input, uint8 RGB

MAX_BATCH = 32  # crops, and as many mirrored: larger batches are not faster, but hold more frames in memory
_CPU_BATCH = 4  # larger batches are not faster on the processor
_CPU_OUT_OF_MEMORY = r"not enough memory|can't allocate memory"
_MEMORY_FRACTION = 0.7  # of the card's free memory that a batch may use; set by hand


def half_precision(device: torch.device) -> torch.dtype:
    """The data type of the transformer: bfloat16, float16 on cards without it, float32 on the CPU."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if cuda.has_bfloat16(device) else torch.float16


class BatchedNetwork:
    """A network on its device, called with any number of crops.

    ``infer`` takes 2 n normalised pictures (2 n, 3, 256, 192), the mirrored ones after the others, and returns tensors
    of n rows each. ``log`` is called with a sentence when the batch is halved for lack of memory. Raises PipelineError
    if the network does not fit into memory.
    """

    def __init__(
        self,
        model: ViTPose | HMR2,
        infer: Callable[[Tensor], tuple[Tensor, ...]],
        name: str,
        device: torch.device,
        log: Log,
    ) -> None:
        self._infer, self._name, self._device, self._log = infer, name, device, log
        try:
            # Converted before it is moved to the card, whose memory may be too small for the model in single precision.
            for part in model.half_precision_parts():
                part.to(half_precision(device)).to(memory_format=torch.channels_last)
            model.to(device)
            self.batch = self._batch_for_free_memory()
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            raise self._too_large() from error

    @torch.inference_mode()
    def __call__(self, crops: np.ndarray) -> list[np.ndarray]:
        """The outputs of ``infer`` for crops (n, 256, 192, 3) uint8 RGB: arrays of n rows, float32.

        Raises PipelineError if not even one crop fits into memory.
        """
        batches: list[list[np.ndarray]] = []
        begin = 0
        while begin < len(crops):
            try:
                batches.append(self._run(crops[begin : begin + self.batch]))
                begin += len(batches[-1][0])
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                self._halve_batch(error)
        return [np.concatenate(values) for values in zip(*batches, strict=True)]

    def _run(self, crops: np.ndarray) -> list[np.ndarray]:
        pictures = person_crops.normalise(torch.from_numpy(np.ascontiguousarray(crops)).to(self._device))
        return [output.float().cpu().numpy() for output in self._infer(torch.cat([pictures, pictures.flip(-1)]))]

    def _halve_batch(self, error: RuntimeError) -> None:
        if self._device.type == "cuda":
            cuda.free_cache()
        if self.batch == 1:
            raise self._too_large() from error
        self.batch //= 2
        self._log(f"Memory ran short: {self._name} processes {self.batch} crops at a time now.")

    def _too_large(self) -> PipelineError:
        return PipelineError(
            f"There is too little memory for {self._name}, even for one picture at a time. Close other programs, "
            "or choose Draft quality.",
            code="out-of-memory",
        )

    @torch.inference_mode()
    def _batch_for_free_memory(self) -> int:
        """The number of crops that fit into the free memory, from the memory that one of them uses."""
        if self._device.type != "cuda":
            return _CPU_BATCH
        crop = np.zeros((1, *CROP), np.uint8)
        self._run(crop)  # a warm-up, so that the libraries' workspaces are allocated before measuring
        per_crop = cuda.peak_bytes(self._device, lambda: self._run(crop))
        cuda.free_cache()
        free = cuda.memory(self._device)[0]
        return int(np.clip(_MEMORY_FRACTION * free / max(per_crop, 1), 1, MAX_BATCH))


def _out_of_memory(error: RuntimeError) -> bool:
    """CUDA raises a class of its own, the CPU's allocator a RuntimeError with one of these texts (Linux and others)."""
    return isinstance(error, torch.OutOfMemoryError) or re.search(_CPU_OUT_OF_MEMORY, str(error)) is not None
