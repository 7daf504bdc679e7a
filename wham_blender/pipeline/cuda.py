"""All calls of torch.cuda, so that tests can replace them: which cards are there, their memory, the one in use.

PyTorch, which takes seconds to load, is imported where it is called, and not where there is no driver of a card.
``device`` is "cuda:N" or a torch.device of a card. Whatever CUDA refuses is raised as RuntimeError.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_SIZE = 256  # rows of the matrix in `product_error`


def version() -> str:
    """The CUDA that this PyTorch was built with; empty for other builds."""
    import torch

    return torch.version.cuda or ""


def count() -> int:
    """The number of cards that PyTorch finds; 0 without a driver, or with one that is too old."""
    if not _may_have_cards():
        return 0
    try:
        import torch
    except OSError as error:  # a shared library is missing: as if the package was
        raise ImportError(str(error)) from error
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _may_have_cards() -> bool:
    """Whether PyTorch could find a card: not if it was built without CUDA, or NVIDIA's driver is not installed."""
    with suppress(ImportError, OSError, ValueError, AttributeError):
        found = importlib.util.find_spec("torch")
        version = (Path(str(found and found.origin)).parent / "version.py").read_text("utf-8")
        built = dict(re.findall(r"^(cuda|hip)\b[^=\n]*= *(\S+)", version, re.MULTILINE))
        if set(built) != {"cuda", "hip"} or built["hip"] != "None":
            return True  # for another vendor's cards
        if built["cuda"] == "None":
            return False
        try:
            ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        except OSError:
            return False
    return True


def architectures() -> list[str]:
    """What this PyTorch's kernels were compiled for: ``sm_86``, ``compute_120`` and so on."""
    import torch

    return torch.cuda.get_arch_list()


def describe(device: str) -> tuple[str, tuple[int, int]]:
    """Name and compute capability of a card."""
    import torch

    return torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)


def memory(device: str | torch.device) -> tuple[int, int]:
    """Free and total memory of a card, in bytes. Takes some of it: a context of CUDA is made on the card."""
    import torch

    return torch.cuda.mem_get_info(device)


def select(device: str) -> None:
    """Make a card the one that libraries use if they are not told which."""
    import torch

    torch.cuda.set_device(device)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a card calculates with bfloat16 by itself."""
    import torch

    return bool(torch.version.hip) or torch.cuda.get_device_capability(device) >= (8, 0)


def free_cache() -> None:
    """Give the memory that PyTorch keeps for later back to the cards."""
    import torch

    torch.cuda.empty_cache()


def peak_bytes(device: torch.device, run: Callable[[], object]) -> int:
    """The memory of a card that a call uses at most, beyond what is in use before it."""
    import torch

    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before


def product_error(device: str) -> float:
    """The largest difference between elements of a matrix product made on a card and on the processor."""
    import torch

    values = torch.linspace(-1, 1, _SIZE * _SIZE).reshape(_SIZE, _SIZE)
    return float(((values.to(device) @ values.to(device)).cpu() - values @ values).abs().max())
