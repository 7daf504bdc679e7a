"""Runs a TFLite network on the CPU with LiteRT."""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ...weights import WeightFile
from ..processors import processor_cores

_THREADS = min(processor_cores(), 4)


class LiteRTNetwork:
    """A TFLite network with one input. Not thread-safe."""

    def __init__(self, file: WeightFile) -> None:
        # From bytes, because the library cannot open a path with non-ASCII characters on Windows.
        self._interpreter = Interpreter(model_content=file.path.read_bytes(), num_threads=_THREADS)
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
