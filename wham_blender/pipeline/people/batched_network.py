"""Runs ViTPose or HMR2.0 over many crops of many people at once, each beside its mirror image.

Half precision on a CUDA card, where the transformer's matrices are nearly all of the work; the small heads that turn
its tokens into numbers stay in single precision, as everything does on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...models import vit
from ...models.hmr2 import HMR2
from ...models.vitpose import ViTPose
from ..errors import PipelineError
from . import person_crops

Log = Callable[[str], None]
CROP = (vit.HEIGHT, vit.WIDTH, 3)  # shape of what the networks look at, uint8 RGB

MAX_BATCH = 32  # in a batch, and as many mirrored: more make no card faster, but hold more frames in memory
_CPU_CROPS = 4  # the processor gains nothing from more
_SHARE = 0.7  # of the card's free memory that a batch may take


def half_precision(device: torch.device) -> torch.dtype:
    """The type of the transformer's numbers: bfloat16, float16 on cards without it, float32 on the CPU."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


class BatchedNetwork:
    """A network on its device, fed with crops of any number.

    ``infer`` takes 2 n normalised pictures (2 n, 3, 256, 192), the mirrored ones behind the others, and returns tensors
    of n rows each. ``note`` is told, in a sentence, where memory runs short. Raises PipelineError where not even the
    network fits into it.
    """

    def __init__(
        self,
        model: ViTPose | HMR2,
        infer: Callable[[Tensor], tuple[Tensor, ...]],
        name: str,
        device: torch.device,
        note: Log,
    ) -> None:
        self._infer, self._name, self._device, self._note = infer, name, device, note
        try:
            # Converted before it is moved to the card, whose memory may be too small for the model in single precision.
            for part in model.half_precision_parts():
                part.to(half_precision(device)).to(memory_format=torch.channels_last)
            model.to(device)
            self.batch = self._fitting()
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            raise self._too_large() from error

    @torch.inference_mode()
    def __call__(self, crops: np.ndarray) -> list[np.ndarray]:
        """What ``infer`` makes of crops (n, 256, 192, 3) uint8 RGB: arrays of n rows, float32.

        Raises PipelineError where not even one crop fits into memory.
        """
        parts: list[list[np.ndarray]] = []
        begin = 0
        while begin < len(crops):
            try:
                parts.append(self._run(crops[begin : begin + self.batch]))
                begin += len(parts[-1][0])
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                self._halve(error)
        return [np.concatenate(values) for values in zip(*parts, strict=True)]

    def _run(self, crops: np.ndarray) -> list[np.ndarray]:
        pictures = person_crops.normalise(torch.from_numpy(np.ascontiguousarray(crops)).to(self._device))
        return [output.float().cpu().numpy() for output in self._infer(torch.cat([pictures, pictures.flip(-1)]))]

    def _halve(self, error: RuntimeError) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if self.batch == 1:
            raise self._too_large() from error
        self.batch //= 2
        self._note(f"Memory ran short: {self._name} looks at {self.batch} crops at a time now.")

    def _too_large(self) -> PipelineError:
        return PipelineError(
            f"There is too little memory for {self._name}, even for one picture at a time. Close other programs, "
            "or choose draft quality."
        )

    @torch.inference_mode()
    def _fitting(self) -> int:
        """How many crops the free memory takes, by what one of them needs."""
        if self._device.type != "cuda":
            return _CPU_CROPS
        crop = np.zeros((1, *CROP), np.uint8)
        self._run(crop)  # what the libraries keep for themselves is taken now
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        self._run(crop)
        each = torch.cuda.max_memory_allocated(self._device) - before
        torch.cuda.empty_cache()
        free = torch.cuda.mem_get_info(self._device)[0]
        return int(np.clip(_SHARE * free / max(each, 1), 1, MAX_BATCH))


def _out_of_memory(error: RuntimeError) -> bool:
    """CUDA has an error of its own for it, the CPU's allocator only words."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)
