"""The processor cores, memory and cards that this process may use."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

import psutil

CORES = "WHAM_CORES"  # environment variable: the cores of one of several worker processes


def processor_cores() -> int:
    """The cores that this process may use, or its part of them where several work beside each other."""
    text = os.environ.get(CORES, "")
    if text.isascii() and text.isdecimal() and 0 < len(text) < 5 and int(text):
        return int(text)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory() -> int:
    """Bytes of memory that new processes can use without swapping."""
    return int(psutil.virtual_memory().available)


def peak_memory() -> int:
    """The most bytes of memory that this process has had."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def trim_heap() -> None:
    """Give free memory back to the system, where that is possible: glibc keeps what lies below memory in use."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other systems and other C libraries
        ctypes.CDLL(None).malloc_trim(0)


def free_card_memory() -> list[int]:
    """Free bytes of each NVIDIA card, in the order of the bus; none without a driver. Does not start CUDA."""
    with contextlib.suppress(Exception):  # no library, driver or card: NVML's exception classes differ between versions
        import pynvml

        pynvml.nvmlInit()
        cards = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        return [int(pynvml.nvmlDeviceGetMemoryInfo(card).free) for card in cards]
    return []
