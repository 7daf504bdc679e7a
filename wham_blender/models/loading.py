"""Fills a network with a checkpoint's tensors: every name and shape must be there, and none besides."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..weights import WeightsError


def complaints(model: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """What keeps the tensors from being the model's own, in a few words; empty where nothing does."""
    expected = model.state_dict()
    found = [f"{name} is missing" for name in expected if name not in tensors]
    found += [f"{name} is unknown" for name in tensors if name not in expected]
    found += [
        f"{name} has the shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more


def fill(model: nn.Module, tensors: Mapping[str, Tensor], refusal: str) -> None:
    """Make the tensors the model's own, without a copy of them; a model on the meta device becomes a real one.

    ``refusal`` is the sentence of the WeightsError where they do not fit, with ``{}`` where the reason goes.
    """
    reason = complaints(model, tensors)
    if reason:
        raise WeightsError(refusal.format(reason))
    model.load_state_dict({name: tensors[name].to(own.dtype) for name, own in model.state_dict().items()}, assign=True)
