"""Runs that are killed or lose their folder or disk end with a sentence, and the next one gives the same motion."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.bench.killed import DISTURBANCES, Reference, same, shares, undisturbed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

_SEED = 3
_KILLS = shares(1, _SEED)  # `build.py bench killed` has as many as asked for
_OTHERS = {"folder deleted": 0.3, "folder exchanged": 0.5, "two workers": 0.2, "disk full": 0.6, "disk read-only": 0.4}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return undisturbed(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize(
    ("name", "share"), [*(("killed", share) for share in _KILLS), *_OTHERS.items()], ids=lambda value: str(value)[:16]
)
def test_a_disturbed_run_is_made_whole_by_the_next(
    name: str, share: float, reference: Reference, tmp_path: Path
) -> None:
    try:
        result = DISTURBANCES[name](tmp_path, reference, share)
    except OSError as error:
        pytest.skip(str(error))
    assert not result.startswith("WRONG"), result


def test_another_motion_is_noticed(reference: Reference) -> None:
    poses = reference.arrays["poses"].copy()
    poses[0, 0] = -poses[0, 0]
    assert same(reference.arrays, dict(reference.arrays))
    assert not same(reference.arrays, reference.arrays | {"poses": poses})
