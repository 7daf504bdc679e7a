"""The self-test passes on a complete worker, and reports what is wrong with others."""

import json
import os
import re
import sys

import numpy as np
import pytest

from tests.pipeline.cards import FakeCard, install
from wham_blender.pipeline import self_test
from wham_blender.protocol import Done, Failed, Progress, decode


def test_this_worker_passes(tmp_path, capsys):
    assert self_test.main(["--json", "-o", str(tmp_path / "report.json")]) == 0
    messages = [decode(line) for line in capsys.readouterr().out.splitlines()]
    assert messages[-1] == Done(str(tmp_path / "report.json"))
    fractions = [message.fraction for message in messages if isinstance(message, Progress)]
    assert fractions == sorted(fractions)
    assert {message.stage for message in messages if isinstance(message, Progress)} >= {"load PyTorch", "self-test"}
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["whole"]
    assert report["python"] == sys.executable
    assert report["sentence"].startswith(f"The worker is whole: Python {sys.version.split()[0]}, PyTorch 2.")
    details = dict(report["details"])
    assert details["numpy"] == np.__version__
    assert "mean confidence 0.9" in details["Self-test"]


@pytest.mark.parametrize(
    ("breaks", "sentence"),
    [
        ("package", r"lacks no-such-package\. Click Repair Worker"),
        ("torch", r"PyTorch does not start \(.*\)\. Click Repair Worker"),
        ("clip", r"self-test failed: .*self_test\.mp4"),
        ("library", r"self-test failed \(ZeroDivisionError: a fault\)\. Click Repair Worker"),
        ("motion", r"self-test's motion is wrong: the pelvis is 9\.\d+ to 9\.\d+ m high"),
    ],
)
def test_the_report_says_what_is_wrong(tmp_path, monkeypatch, capsys, breaks, sentence):
    from wham_blender import motion
    from wham_blender.pipeline.stages import job, run

    if breaks == "package":
        (tmp_path / "requirements.in").write_text("numpy==0.1\nno-such-package==1.0\n", "utf-8")
        (tmp_path / "requirements-full.in").write_text("not-there-either==1.0\n", "utf-8")
        monkeypatch.setattr(self_test, "_HERE", tmp_path)
    elif breaks == "torch":
        monkeypatch.setitem(sys.modules, "torch", None)
    elif breaks == "clip":
        (tmp_path / "self_test.mp4").write_bytes(b"half")
        monkeypatch.setattr(self_test, "_CLIP", tmp_path / "self_test.mp4")
    elif breaks == "library":
        monkeypatch.setattr(run, "run", lambda job, tell: fault())
    else:
        high = motion.load(run.run(job.Job(self_test._CLIP, tmp_path / "m.npz", resume=tmp_path), lambda message: None))
        high[0].trans[:, 2] += 8.2
        motion.save(tmp_path / "m.npz", high)
        monkeypatch.setattr(run, "run", lambda job, tell: tmp_path / "m.npz")
    assert self_test.main(["--json", "-o", str(tmp_path / "report.json")]) == 1
    last = decode(capsys.readouterr().out.splitlines()[-1])
    assert isinstance(last, Failed)
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert not report["whole"]
    if breaks == "package":
        assert ["not-there-either", "not installed: only Full quality needs it"] in report["details"]
    assert re.search(sentence, last.text)


def fault():
    raise ZeroDivisionError("a fault")


def test_a_card_that_does_not_work_does_not_fail_the_worker(monkeypatch, tmp_path):
    """Two cards of which one is too old for the PyTorch: the other one, or the processor, works."""
    computer = install(monkeypatch, FakeCard("GT 730", (3, 5)), FakeCard("RTX 4090", (8, 9)))
    monkeypatch.setattr(self_test, "_run_pipeline", lambda report, tell: 1.0)
    monkeypatch.setattr(self_test, "_driver", lambda: "580.1")
    report = self_test.examine(lambda message: None)
    assert report.whole
    assert "on RTX 4090; the self-test took 1.0 s. Not used: GT 730 (it has compute capability 3.5, and" in (
        report.sentence
    )
    assert [(card.device, card.name, bool(card.fault)) for card in report.cards] == [
        ("cuda:0", "GT 730", True), ("cuda:1", "RTX 4090", False)
    ]  # fmt: skip
    details = dict(report.details)
    assert details["cuda:0"].startswith("GT 730, compute capability 3.5, not used: it has")
    assert details["cuda:1"] == "RTX 4090, compute capability 8.9, 8.0 of 10.0 GB free"
    assert computer.tried == ["cuda:1"]
    computer.cards[1].fails = "no kernel image is available"
    report = self_test.examine(lambda message: None)
    assert report.whole
    assert f"on the processor ({os.cpu_count()} cores); the" in report.sentence
    assert report.sentence.endswith("RTX 4090 (CUDA error: no kernel image is available).")
    json.loads(report.to_json())


def test_a_report_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr(self_test, "examine", lambda tell: self_test.Report(whole=True))
    assert self_test.main(["--json", "-o", str(tmp_path / "file" / "report.json")]) == 1
    (message,) = [decode(line) for line in capsys.readouterr().out.splitlines()]
    assert isinstance(message, Failed)
    assert message.text.startswith(f"Cannot write to {tmp_path / 'file'}: ")
    assert message.code == "folder-not-writable"


def test_whatever_the_self_test_raises_is_in_the_report(monkeypatch):
    monkeypatch.setattr(self_test, "_check_packages", lambda report: fault())
    report = self_test.examine(lambda message: None)
    assert (report.whole, report.code) == (False, "self-test-failed")
    assert report.sentence.startswith("The self-test failed (ZeroDivisionError: a fault). Click")
