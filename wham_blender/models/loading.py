"""Loads a checkpoint's tensors into a network, strictly: exactly the network's names and shapes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..weights import WeightsError


def mismatches(model: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """The first few names and shapes that differ between the tensors and the model; empty if they agree."""
    expected = model.state_dict()
    differences = [f"{name} is missing" for name in expected if name not in tensors]
    differences += [f"{name} is unknown" for name in tensors if name not in expected]
    differences += [
        f"{name} has the shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
    return "; ".join(differences[:3]) + more


def fill(model: nn.Module, tensors: Mapping[str, Tensor], refusal: str) -> None:
    """Assign the tensors to the model's parameters without a copy; a model on the meta device gets real ones.

    Raises WeightsError if they do not fit, with the sentence ``refusal``, in which ``{}`` stands for the reason.
    """
    reason = mismatches(model, tensors)
    if reason:
        raise WeightsError(refusal.format(reason), code="weights-wrong-network")
    model.load_state_dict(
        {name: tensors[name].to(expected.dtype) for name, expected in model.state_dict().items()}, assign=True
    )
