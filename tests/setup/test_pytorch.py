"""Which PyTorch a computer gets. Pure functions: no card, no network, no Blender."""

import sys

import pytest

from wham_blender.addon.worker import python_environment, pytorch
from wham_blender.addon.worker.pytorch import BuildError, Card, choose, read_cards

ADA, PASCAL, BLACKWELL = (8, 9), (6, 1), (12, 0)
PC, ARM = "x86_64", "arm64"


@pytest.mark.parametrize(
    ("wish", "system", "machine", "card", "build", "why"),
    [
        ("AUTO", "linux", PC, None, "cpu", "no NVIDIA card"),
        ("AUTO", "linux", PC, (580, ADA), "pypi", "driver 580"),
        ("AUTO", "linux", ARM, (590, ADA), "pypi", "driver 590"),
        ("AUTO", "linux", PC, (579, ADA), "cu126", "driver 579"),
        ("AUTO", "linux", PC, (525, ADA), "cu126", "driver 525"),
        ("AUTO", "linux", PC, (524, ADA), "cpu", "driver 525 or later, and 524 is installed"),
        ("AUTO", "linux", PC, (580, PASCAL), "cu126", "driver 580"),
        ("AUTO", "linux", PC, (575, BLACKWELL), "cpu", "driver 580 or later, and 575"),
        ("AUTO", "linux", PC, (581, BLACKWELL), "pypi", ""),
        ("AUTO", "linux", PC, (470, (3, 5)), "cpu", "older than PyTorch supports"),
        ("CPU", "linux", PC, (580, ADA), "cpu", "as asked for"),
        ("AUTO", "win32", PC, None, "pypi", "no NVIDIA card"),
        ("AUTO", "win32", PC, (581, ADA), "cu130", "driver 581"),
        ("AUTO", "win32", PC, (551, ADA), "cu126", "driver 551"),
        ("AUTO", "win32", PC, (527, ADA), "pypi", "driver 528 or later"),
        ("CPU", "win32", PC, (581, ADA), "pypi", "as asked for"),
        ("AUTO", "darwin", ARM, None, "pypi", "Metal"),
        ("CPU", "darwin", ARM, None, "pypi", "Metal"),
    ],
)
def test_builds(wish, system, machine, card, build, why):
    found = choose(wish, system, machine, [Card("RTX", *card)] if card else [])
    assert found.name == build
    assert why in found.reason
    assert found.index == ("" if build == "pypi" else f"https://download.pytorch.org/whl/{build}")


def test_the_most_capable_of_several_cards_decides():
    assert choose("AUTO", "linux", PC, [Card("old", 580, PASCAL), Card("new", 580, ADA)]).name == "pypi"


def test_a_card_that_no_build_supports_does_not_keep_another_from_being_used():
    build = choose(
        "AUTO", "linux", PC, [Card("new", 575, BLACKWELL), Card("usual", 575, ADA), Card("old", 575, (3, 5))]
    )
    assert build.name == "cu126"
    assert "usual with driver 575" in build.reason


@pytest.mark.parametrize(
    ("wish", "system", "machine", "cards", "sentence"),
    [
        ("AUTO", "darwin", PC, [], "no worker packages for this computer"),
        ("AUTO", "win32", ARM, [], "no worker packages for this computer"),
        ("CUDA", "darwin", ARM, [], "no CUDA on a Mac"),
        ("CUDA", "linux", PC, [], "no NVIDIA card was found"),
        ("CUDA", "linux", PC, [Card("GTX", 470, PASCAL)], "driver 525 or later, and 470"),
    ],
)
def test_none_is_a_sentence(wish, system, machine, cards, sentence):
    with pytest.raises(BuildError, match=sentence):
        choose(wish, system, machine, cards)


def test_what_nvidia_smi_says_is_read():
    said = (
        "NVIDIA GeForce RTX 4090, 551.86, 8.9\nGRID A100, 10-20C, 525.60.13, 8.0\nNo devices were found\n\nx, [N/A], y"
    )
    assert read_cards(said) == [Card("NVIDIA GeForce RTX 4090", 551, (8, 9)), Card("GRID A100, 10-20C", 525, (8, 0))]


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a POSIX script")
@pytest.mark.parametrize(("script", "count"), [("echo 'RTX, 580.1, 8.9'", 1), ("echo broken; exit 9", 0), (None, 0)])
def test_nvidia_smi_is_asked(tmp_path, monkeypatch, script, count):
    if script:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert len(pytorch.cards()) == count


@pytest.mark.parametrize(
    ("wish", "cards", "sentence"),
    [
        ("AUTO", [], "no NVIDIA card was found. Downloads about 0.5 GB"),
        ("CPU", [Card("RTX", 580, ADA)], "as asked for. Downloads about 0.5 GB"),
        ("AUTO", [Card("RTX", 580, ADA)], "RTX with driver 580. Downloads 3.3 GB"),
        ("AUTO", [Card("GTX", 530, PASCAL)], "Downloads 0.3 GB and PyTorch with CUDA, which is 2 to 3 GB more"),
        ("CUDA", [], "cannot be used: no NVIDIA card was found"),
    ],
)
def test_this_computer_s_download_is_announced(monkeypatch, wish, cards, sentence):
    monkeypatch.setattr(pytorch, "here", lambda: ("linux", PC))
    monkeypatch.setattr(python_environment, "download_sizes", lambda: {"torch": 3013, "others": 269})
    assert sentence in python_environment.download_text(wish, cards)
