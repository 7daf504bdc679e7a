"""A minute of fuzzing: nothing that comes from outside ends the process, hangs it, or fails without its sentence."""

from __future__ import annotations

import sys
import time

import pytest

if sys.platform == "win32":
    pytest.skip("the harness needs POSIX's pipes and signals", allow_module_level=True)

from hypothesis import strategies as st

from tests.fuzz.harness import FOUND, Campaign, Example, Given, Target, Worker
from tests.fuzz.targets import TARGETS

MISBEHAVING = "tests.fuzz.misbehaving"
_MOST = 20.0  # seconds for one target's generated examples, on a machine that is busy


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_comes_from_outside_breaks_nothing(target: Target) -> None:
    campaign = Campaign(target)
    with target.worker() as worker:
        campaign.known(worker)
        campaign.generated(worker, target.count, seed=0, end=time.monotonic() + _MOST)
    assert not campaign.findings, "\n".join(map(str, campaign.findings.values()))
    assert campaign.refused


@pytest.mark.parametrize(
    ("reader", "signature"),
    [
        ("good", ""), ("crashes", "crash: SIGABRT"), ("raises", "KeyError in readers.py"), ("eats", "memory"),
        ("works", "slow"),
        ("no_sentence", "readers.py: a sentence shows KeyError"), ("no_code", "readers.py: a sentence has the code ''"),
        ("leaves_a_file", "leaves the file"), ("leaves_a_thread", "leaves 1 threads"), ("leaves_a_descriptor",
        "leaves 1 open descr"),
    ],
)  # fmt: skip
def test_the_harness_notices(reader: str, signature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reader == "works":
        monkeypatch.setattr("tests.fuzz.harness._START", 1.0)
        monkeypatch.setattr("tests.fuzz.harness.SECONDS", 1.0)
    with Worker(f"{MISBEHAVING}:{reader}", "file") as worker:
        found = worker.run(Example(b"x")).signature
    assert found.startswith(signature)
    assert bool(found) == bool(signature)


def test_an_example_that_needs_others_before_it_is_kept_with_them() -> None:
    with Worker(f"{MISBEHAVING}:crashes_later", "file") as worker:
        assert worker.run(Example(b"first")).signature == ""
        outcome = worker.run(Example(b"now"))
        assert outcome.signature == "crash: SIGABRT, after other examples"
        assert outcome.before == (Example(b"first"),)
        assert worker.run(Example(b"other")).signature == ""  # it goes on


def _bytes() -> Given:
    return Given(st.binary(max_size=300), ())


def test_a_finding_is_made_smaller_and_kept() -> None:
    target = Target("test of the harness", "refuses_long", "file", _bytes, module=MISBEHAVING)
    campaign = Campaign(target)
    with target.worker() as worker:
        campaign.generated(worker, 200, seed=1)
    (finding,) = campaign.findings.values()
    assert len(finding.example.content) == 20
    assert finding.save().parent == FOUND
    assert finding.save().read_bytes() == finding.example.content
    assert "too long" in finding.save().with_name(f"{finding.save().name}.txt").read_text()
