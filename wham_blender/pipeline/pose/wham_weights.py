"""Loads WHAM's network and the SMPL body from their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ... import archives, smpl_file
from ...body.body import Body
from ...errors import reason
from ...models.wham import WHAM
from ...weights import WeightsError
from ..checkpoints import Tensors, load_network, read

# SMPL's keys, and the names of smplx's buffers in a WHAM checkpoint.
_BODY_BUFFERS = {
    "v_template": "v_template", "shapedirs": "shapedirs", "J_regressor": "J_regressor", "weights": "lbs_weights",
    "f": "faces_tensor", **{name: name for name in smpl_file.REGRESSORS},
}  # fmt: skip


def load_wham(path: str | Path) -> WHAM:
    """WHAM's network, published, of the first training stage or ours, float32, on the CPU, in evaluation mode.

    An untrained integrator, which first-stage files may contain, is left out: image features are then not used. Raises
    WeightsError if the file does not hold the network.
    """

    def build(tensors: Tensors) -> WHAM:
        if _untrained(tensors):
            tensors = {name: value for name, value in tensors.items() if not name.startswith("integrator.")}
        return WHAM.from_state_dict({name: tensor.float() for name, tensor in tensors.items()}).eval()

    return load_network(path, "wham", build)


def _untrained(tensors: Tensors) -> bool:
    """Whether the integrator is as PyTorch initialises it: no weight or bias beyond 1 / sqrt(inputs).

    Training moves many of its millions of weights out of that range; the first stage of WHAM's training has no image
    features to train it with.
    """
    layers = sorted({name.rsplit(".", 1)[0] for name in tensors if name.startswith("integrator.")})
    in_range = [
        (tensors[f"{layer}.{part}"].abs().max() <= tensors[f"{layer}.weight"].shape[-1] ** -0.5)
        for layer in layers
        for part in ("weight", "bias")
        if f"{layer}.{part}" in tensors and f"{layer}.weight" in tensors
    ]
    return bool(in_range) and all(in_range)


def load_body(
    smpl: str | Path | None = None, wham: str | Path | None = None, regressors: Sequence[str | Path] = ()
) -> Body:
    """The body of `body_arrays`."""
    return Body(body_arrays(smpl, wham, regressors))


def body_arrays(
    smpl: str | Path | None = None, wham: str | Path | None = None, regressors: Sequence[str | Path] = ()
) -> dict[str, np.ndarray]:
    """SMPL from its own file, or from a WHAM checkpoint's buffers if ``smpl`` is None.

    WHAM's joint regressors come from the same file, from the checkpoint, or from ``regressors``, the files
    J_regressor_wham.npy and J_regressor_feet.npy. Raises WeightsError if something is missing.
    """
    buffers = _body_buffers(wham) if wham else {}
    name = Path(smpl or wham or "").name
    arrays = smpl_file.read(smpl) if smpl else smpl_file.check(buffers, f"The body in {name}")
    for path in map(Path, regressors):
        for key, rows in smpl_file.REGRESSORS.items():
            if path.stem == key:
                buffers[key] = _regressor(path, rows, len(arrays["v_template"]))
    for key in smpl_file.REGRESSORS:
        if key not in arrays and key in buffers:
            arrays[key] = buffers[key]
    missing = [key for key in smpl_file.REGRESSORS if key not in arrays]
    if missing:
        raise WeightsError(
            f"{name} lacks WHAM's joint regressors ({', '.join(missing)}). Choose a WHAM checkpoint, which carries "
            f"them, or the files {' and '.join(f'{key}.npy' for key in missing)} that come with WHAM's demo data.",
            code="regressors-missing",
        )
    if any(arrays[key].shape[1] != len(arrays["v_template"]) for key in smpl_file.REGRESSORS):
        raise WeightsError(
            f"The body in {name} and WHAM's joint regressors do not fit: they differ in the number of vertices. Choose "
            "files that were made for each other.",
            code="regressors-mismatch",
        )
    return arrays


def _regressor(path: Path, rows: int, vertices: int) -> np.ndarray:
    try:
        array = archives.array_file(path)
        if array.dtype.kind != "f":
            raise archives.UnreadableArchive("it holds no fractions")
    except (OSError, archives.UnreadableArchive) as error:
        raise WeightsError(
            f"The joint regressor {path.name} cannot be read ({reason(error)}). Choose another file.",
            code="regressors-unreadable",
        ) from error
    if array.shape != (rows, vertices):
        raise WeightsError(
            f"The joint regressor {path.name} is {array.shape}, not {rows} x {vertices}. Choose WHAM's own file.",
            code="regressors-mismatch",
        )
    return array


def _body_buffers(path: str | Path) -> dict[str, np.ndarray]:
    """The body in a WHAM checkpoint, with SMPL's keys and shapes; arrays that it lacks are left out."""
    tensors = {name.removeprefix("smpl."): value for name, value in read(path).items() if name.startswith("smpl.")}
    try:
        arrays = {name: tensors[buffer].numpy() for name, buffer in _BODY_BUFFERS.items() if buffer in tensors}
        if "posedirs" in tensors:  # smplx keeps them flat and transposed
            arrays["posedirs"] = tensors["posedirs"].mT.unflatten(0, (-1, 3)).numpy()
        if "parents" in tensors:
            arrays["kintree_table"] = np.stack([tensors["parents"].numpy(), np.arange(len(tensors["parents"]))])
    except (RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{Path(path).name} is damaged, or another version. Of its body: {reason(error)}.",
            code="weights-damaged",
        ) from error
    return arrays
