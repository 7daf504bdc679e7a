"""Guessing stays right of skeletons with other names, tails, axes, bones or poses (`build.py bench perturbed`)."""

import pytest

from tests.rigs import perturbations
from wham_blender.addon.retarget import guess, maps

KINDS = ("mixamo", "unreal_ue5", "kaykit", "quaternius_modular", "smplx")
# Changes after which nobody could tell all joints: shares of characters whose legs and arms are right.
HARD = {"posed at rest": 0.6, "none, and posed at rest, slightly": 0.6}


def guessed(subject):
    try:
        return guess.guess(subject.name, subject.skeleton)
    except maps.MapError:
        return None


@pytest.mark.parametrize("change", perturbations.CHANGES)
def test_legs_and_arms_are_found_and_what_is_sure_is_right(change):
    count = right = 0
    for kind in KINDS:
        for apply in perturbations.CHANGES[change][:3]:
            subject = apply(perturbations.generated(kind))
            found = guessed(subject)
            count += 1
            right += not subject.limb_faults(found and found.rig_map)
            wrong = {fault.split(" is ")[0] for fault in subject.faults(found and found.rig_map)}
            sure = (
                {j: b for j, b in found.rig_map.mapped_bones().items() if found.confidence[b] >= 0.9} if found else {}
            )
            assert not wrong & {joint.split(" ")[0] for joint in sure}, (kind, wrong)
    assert right >= HARD.get(change, 1.0) * count
