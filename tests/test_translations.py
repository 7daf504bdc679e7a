"""Each language has each text of the add-on and no other, with the same holes, names and code, and one term a thing."""

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from tools.texts import LANGUAGES, PACKAGE, templates

FILES = sorted(LANGUAGES.glob("*.json"))
# Words that every language keeps: names, formats, options and file endings, as they stand in English.
KEPT = re.compile(
    r"https?://|\b(?:Blender|WHAM|SMPL|BVH|FBX|MP4|NPZ|CUDA|NVIDIA|PyTorch|Python|ViTPose|HMR2|YOLO|PyPI|TOML|JSON|venv|"
    r"ensurepip|MAIN|ALL|H\.264|BEDLAM|3DPW|AMASS|smpl\.is\.tue\.mpg\.de)\b|"
    r"\.(?:npz|toml|pkl|mp4|mov|fbx|glb|bvh|usdc)\b|--\w+|%",
    re.ASCII,
)
# One term for one thing, as Blender's own catalogues have it, or as the field says: what an English word becomes. A
# part of the word is enough, as it is inflected.
TERMS = {
    "bake": "back|captur|précalcul|ger(?:e|a|á)|gravações|ベイク|烘焙|베이크",
    "rig": "rig|リグ|绑定|리그",
    "armature": "armatur|esqueleto|armação|アーマチュア|骨架|아마튜어",
    "action": "aktion|acci[oó]n|action|ação|ações|アクション|动作|액션",
    "keyframe": "keyframe|fotogramas? clave|images? clé|quadros?-chave|キーフレーム|关键帧|키프레임",
    "weight": "gewicht|peso|poids|重み|权重|가중치",
    "bone": r"knochen|bone|hueso|\bos\b|osso|ボーン|骨骼|본",
    "constraint": "constraint|restricci|contrainte|restriç|コンストレイント|约束|제약",
    "driver": "treiber|controlador|contrôleur|pilote|driver|ドライバー|驱动|드라이버",
    "mesh": "mesh|malla|maillage|malha|メッシュ|网格|메쉬",
    "pose": "pose|posad|ポーズ|姿态|포즈",
    "contact": "kontakt|contact|contat|接地|接触|접촉",
    "floor": r"boden|suelo|\bsol\b|chão|床|地面|바닥",
    "worker": "hintergrundprogramm|proceso auxiliar|programme de calcul|programa auxiliar|ワーカー|后台程序|워커",
    "job": "auftr[aä]g|tarea|tâche|tarefa|ジョブ|作业|작업",
    "quality": "qualit|calidad|qualidade|品質|质量|품질",
    "preferences": "einstellungen|preferencias|préférences|preferências|プリファレンス|偏好设置|환경 설정",
}
# Words of every English sentence, which are no words of the other languages.
ENGLISH = re.compile(r"\b(?:the|of|and|with|which|from|that|this|are|cannot)\b")
IN_PREFERENCES = {"setup.py", "weights.py"}  # operators whose buttons are in that window, which is wide
WIDEST = (
    34  # letters of a button in the sidebar, which has 300 pixels; those of Chinese, Japanese and Korean count twice
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_one_term_for_one_thing(path):
    known = texts_of(path)
    wrong = [
        (word, text, said)
        for word, terms in TERMS.items()
        for text, said in known.items()
        if re.search(rf"(?<!\[)\b{word}(?:e?s|d|ing)?\b", text, re.IGNORECASE)
        and not re.search(terms, said, re.IGNORECASE)
    ]
    assert wrong == []
    assert [said for said in known.values() if ENGLISH.search(said)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_buttons_fit_the_sidebar(path):
    known = texts_of(path)
    sources = [each for each in (PACKAGE / "addon/operators").glob("*.py") if each.name not in IN_PREFERENCES]
    labels = [label for each in sources for label in re.findall(r'bl_label = "(.+)"', each.read_text("utf-8"))]
    assert len(labels) > 40
    widths = {
        known[label]: sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in known[label])
        for label in [*labels, "Next: Bake to Rig"]
    }
    assert {said: width for said, width in widths.items() if width > WIDEST} == {}
