"""Each language has each text of the add-on and no other, with the same holes, names and code in it."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tools.texts import LANGUAGES, templates

FILES = sorted(LANGUAGES.glob("*.json"))
# Words that every language keeps: names, formats, options and file endings, as they stand in English.
KEPT = re.compile(
    r"https?://|\b(?:Blender|WHAM|SMPL|BVH|FBX|MP4|NPZ|CUDA|NVIDIA|PyTorch|Python|ViTPose|HMR2|YOLO|PyPI|TOML|JSON|venv|"
    r"ensurepip|MAIN|ALL|H\.264|BEDLAM|3DPW|AMASS|smpl\.is\.tue\.mpg\.de)\b|"
    r"\.(?:npz|toml|pkl|mp4|mov|fbx|glb|bvh|usdc)\b|--\w+|%",
    re.ASCII,
)
# Translations that are spelled as in English, in some languages.
SAME = 60  # of a language at most: words such as "Clip", "Rig" or "Motion (.npz)"


def texts_of(path: Path) -> dict[str, str]:
    return json.loads(path.read_text("utf-8"))


def holes(text: str) -> Counter[str]:
    return Counter(re.findall(r"\{\d*\}", text))


def test_the_texts_are_found():
    found = templates()
    assert len(found) > 1000
    for text in (
        "Bake to Rig",  # the label of an operator
        "Lock the feet to the floor while they are planted in the motion, by bending the legs. If disabled, only the "
        "leg rotations are copied, and feet slide where the proportions of the bodies differ",
        "Every Frame",  # an item of an enum
        "Next: Bake to Rig",  # a button
        "Left Arm",  # a heading
        "No person found in {0} ({1} frames looked at). Choose a clip that shows a whole person for a second or more, "
        "at least a sixth of the picture high and not in the dark; turn one that lies on its side or is upside down, "
        "with Rotate Clip.",  # an error of the worker
        "{0}, {1}:{2} left",  # a progress
        "finds people",  # what a weight file does
    ):
        assert text in found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_text_is_translated_and_nothing_is_lost(path):
    known = texts_of(path)
    assert [text for text in templates() if not known.get(text)] == []
    assert sorted(set(known) - set(templates())) == []
    assert [text for text, said in known.items() if holes(text) != holes(said)] == []
    assert [(text, said) for text, said in known.items() if set(KEPT.findall(text)) - set(KEPT.findall(said))] == []
    assert [text for text, said in known.items() if said != said.strip() or "\n" in said] == []
    same = [text for text, said in known.items() if text == said]
    assert len(same) <= SAME, same
    assert not [text for text in same if len(re.findall(r"[^\W\d_]{3,}", text)) > 3]
