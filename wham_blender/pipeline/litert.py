"""Runs one TFLite network on the CPU. The only file that knows LiteRT."""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ..weights import WeightFile


class LiteRTNetwork:
    """A network of one input, kept loaded; use it from one thread."""

    def __init__(self, file: WeightFile, threads: int = 2) -> None:
        self._interpreter = Interpreter(str(file.path), num_threads=threads)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = self._interpreter.get_output_details()
        self._shape: tuple[int, ...] = ()

    def __call__(self, values: np.ndarray) -> list[np.ndarray]:
        """The network's outputs, in the file's order, for one input of any shape that the network takes."""
        if values.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input, values.shape)
            self._interpreter.allocate_tensors()
            self._shape = values.shape
        self._interpreter.set_tensor(self._input, values)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output["index"]) for output in self._outputs]
