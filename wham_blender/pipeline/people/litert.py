"""Runs a TFLite network on the CPU with LiteRT."""

from __future__ import annotations

import os

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ...weights import WeightFile
from ..processors import processor_cores

_MOST_THREADS = 4  # with more, the small networks get no faster


def thread_count() -> int:
    """Threads for one network: the processors that this process may use, and OMP_NUM_THREADS at most."""
    # Without that, two processes with one processor each would share four threads' time with each other.
    usable = processor_cores()
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # a list: one number a nesting level
    return max(1, min(usable, _MOST_THREADS, int(wanted) if wanted.isdecimal() else usable))


class LiteRTNetwork:
    """A TFLite network with one input. Not thread-safe."""

    def __init__(self, file: WeightFile) -> None:
        # From bytes, because the library cannot open a path with non-ASCII characters on Windows.
        self._interpreter = Interpreter(model_content=file.path.read_bytes(), num_threads=thread_count())
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = self._interpreter.get_output_details()
        self._shape: tuple[int, ...] = ()

    def __call__(self, values: np.ndarray) -> list[np.ndarray]:
        """The network's outputs, in the file's order; the input may have any shape that the network accepts."""
        if values.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input, values.shape)
            self._interpreter.allocate_tensors()
            self._shape = values.shape
        self._interpreter.set_tensor(self._input, values)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output["index"]) for output in self._outputs]
