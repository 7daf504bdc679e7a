"""Parses bone names: body part and side, in many languages and naming conventions. Standard library only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

# Words for each body part. A word listed for several parts ("shoulder" is Mixamo's collar and SMPL's upper arm) counts
# for all of them. English, German, French, Spanish, Italian, Portuguese, Russian, Chinese, Japanese (MMD).
_PART_WORDS = {
    "pelvis": "pelvis hips hip root body lowerbody center becken hüfte bassin hanches hanche pelvi cadera caderas "
    "bacino quadril таз 骨盆 臀 腰 下半身 センター",
    "spine": "spine upperbody chest torso abdomen ribcage ribs back waist lowerback upperchest wirbelsäule rücken "
    "brust bauch rumpf colonne dos poitrine torse thorax columna espalda espina pecho columnavertebral schiena "
    "torace petto coluna peito позвоночник спина грудь торс живот 脊柱 脊椎 胸 腰 上半身 背",
    "neck": "neck hals nacken cou cuello collo pescoço шея 颈 頸 脖子 首",
    "head": "head kopf tête cabeza testa cabeça голова 头 頭",
    "hip": "hip thigh upleg upperleg legupper legup femur leg oberschenkel hüfte cuisse jambe muslo pierna coscia "
    "gamba coxa perna бедро нога 大腿 太もも 足 脚",
    "knee": "knee shin calf foreleg lowerleg lowleg leglower legdown leg tibia unterschenkel knie wade schienbein "
    "genou mollet jambe rodilla pantorrilla espinilla pierna ginocchio gamba polpaccio joelho canela perna колено "
    "голень 小腿 膝 膝盖 ひざ すね",
    "ankle": "ankle foot fuß fuss knöchel sprunggelenk pied cheville pie tobillo piede caviglia pé tornozelo стопа "
    "ступня лодыжка 脚 脚踝 足首 足",
    "foot": "toe toes ball toebase foot zeh zehe zehen ballen orteil orteils dedos puntera punta dita ponta носок "
    "пальцы 脚趾 脚尖 つま先 足先",
    "collar": "collar clavicle clavicula shoulder schlüsselbein schulter clavicule épaule clavícula hombro "
    "clavicola spalla ombro ключица плечо 锁骨 鎖骨 肩",
    "shoulder": "shoulder shldr upperarm uparm armupper humerus arm oberarm schulter bras épaule brazo hombro "
    "braccio spalla braço ombro плечо рука 上臂 大臂 腕",
    "elbow": "elbow forearm lowerarm lowarm armlower ulna unterarm ellbogen ellenbogen avantbras coude antebrazo "
    "codo avambraccio gomito antebraço cotovelo предплечье локоть 前臂 小臂 肘 ひじ",
    "wrist": "wrist hand palm handgelenk main poignet mano muñeca polso mão pulso кисть запястье 手腕 手 手首",
}  # fmt: skip
# Words of helper bones: they are not part of the chain that maps to SMPL's joints.
_HELPER_WORDS = (
    "twist roll ik pole target ctrl control orient helper end nub tip jiggle physics corrective correctiveroot adj sec "
    "mch org vis wgt tweak kine sfk driver skirt "
    "hair breast bust pectoral eye jaw ear tongue teeth brow lid lip nose cheek finger thumb index middle mid ring "
    "pinky little metacarpal carpal metatarsal metatarsals weapon prop gun dummy parent offset socket cloth tail wing "
    "daumen zeigefinger mittelfinger ringfinger pouce doigt pulgar палец 捩 親指 人指 中指 薬指 小指 指 目 髪 "
    "スカート 先 ダミー 補助 キャンセル 操作"
)
# Those that count inside of a word too, as in "legcontrol": not "end", which is in "extender".
_GLUED_HELPERS = ("twist", "control", "helper", "corrective", "捩", "スカート", "ダミー", "補助", "キャンセル", "操作")
_TOES = {"toe", "toes", "toebase", "ball"}
_ENDS_OF_ANIMALS = {"front": {"front", "fore", "f"}, "hind": {"hind", "back", "rear", "b"}}
_LEG_WORDS = {"leg", "legs", "thigh", "shin", "foot", "paw", "hoof", "shoulder", "toe", "toes", "upperleg", "lowerleg"}
_SIDE_WORDS = {
    "left": "l left links linke linker gauche izq izquierda izquierdo sinistra sinistro sx esquerda esquerdo esq "
    "лев левая левый левое л 左",
    "right": "r right rechts rechte rechter droite droit der derecha derecho destra destro dx direita direito "
    "прав правая правый правое п 右",
}
_MOST_GLUED = 4  # words of a name that are one in the lists, as "upper" and "leg"
_MIN_SUBSTRING = 4  # shorter words count only when they stand alone, longer ones also in "leftforearm"


_FBX_CHARACTER = re.compile(r"FBXASC(\d{3})")  # as FBX exporters write characters that the format does not allow
_WORD_EDGE = re.compile(
    r"(?<=[a-zа-я])(?=[A-ZА-Я])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\D)(?=\d)|(?<=\d)(?=\D)"
    r"|(?<=[A-Za-z])(?=[\u3040-\u9fff])|(?<=[\u3040-\u9fff])(?=[A-Za-z])"
)


@dataclass(frozen=True)
class ParsedName:
    """The body parts and the side that a bone name contains."""

    parts: frozenset[str]  # candidates, keys of _PART_WORDS; empty if no word is known
    side: str  # "left", "right" or ""
    helper: bool  # the name of a twist, IK or other helper bone
    stem: str = ""  # the name without its side and punctuation: the same for a bone and its counterpart
    words: frozenset[str] = frozenset()


_COUNTER = re.compile(r"[_.]\d+$")
_MOST_COUNTED = 0.8  # of the names end with a number: then a program has numbered them; set by hand


def without_counters(names: Sequence[str]) -> list[str]:
    """Names without the number at their end, if nearly all have one that no other has: "Hips_01", "Spine_02"."""
    counters = [match[0][1:] for match in map(_COUNTER.search, names) if match]
    if len(counters) < _MOST_COUNTED * len(names) or len({int(number) for number in counters}) < 0.9 * len(counters):
        return list(names)
    return [_COUNTER.sub("", name) for name in names]


def decoded(name: str) -> str:
    """A bone's name with the characters that FBX exporters have spelled: "thighFBXASC046L" is "thigh.L"."""
    return _FBX_CHARACTER.sub(lambda match: chr(int(match[1])), name)


@cache
def parse(name: str) -> ParsedName:
    """Parse a bone's name."""
    spaced = _WORD_EDGE.sub(" ", unicodedata.normalize("NFKC", decoded(name)))
    # Chinese and Japanese names have no spaces: the side is one character.
    spaced = re.sub(r"([左右])", r" \1 ", spaced)
    tokens = [word for word in re.split(r"[\W_]+", _normalized(spaced)) if word]
    words = [word for word in tokens if not word.isdigit()]
    sides = _side_words()
    side = next((side for word in words for side, known in sides.items() if word in known), "")
    glued = next((word for word in words if word[0] in "lr" and _may_follow_side(word[1:])), "")  # after a prefix, too
    if not side:
        side = _cut_side(words, tokens)
    if not side and glued:
        side = {"l": "left", "r": "right"}[glued[0]]
        tokens[tokens.index(glued)] = words[words.index(glued)] = glued[1:]
    stem = "".join(word for word in tokens if not any(word in known for known in sides.values()))
    words = [word for word in words if not any(word in known for known in sides.values())]
    if not words:
        return ParsedName(frozenset(), side, False, stem, frozenset())
    # The longest known word wins: "forearm" and not the "arm" in it.
    ends = [(start, end) for start in range(len(words)) for end in range(start + 1, start + 1 + _MOST_GLUED)]
    runs = {"".join(words[start:end]) for start, end in ends}
    together = "".join(words)
    found = (known for word, known, inside in _words_by_length() if word in runs or (inside and word in together))
    parts = next(found, frozenset[str]())
    if _TOES & set(words):
        parts = frozenset({"foot"})  # "foot_toe_1" is no ankle
    return ParsedName(parts, side, any(map(_is_helper, words)), stem, frozenset(words))


def _cut_side(words: list[str], tokens: list[str]) -> str:
    """The side of the first word that begins or ends with one, as "leftforearm", which is cut from the lists."""
    for number, word in enumerate(words):
        match = _long_side().match(word)
        if match and _may_follow_side(match[2] or match[3]):
            tokens[tokens.index(word)] = words[number] = match[2] or match[3]
            mark = match[1] or match[4]
            return next(side for side, known in _side_words().items() if mark in known)
    return ""


def of_four_legs(names: Iterable[ParsedName]) -> bool:
    """Whether bones of both sides are called front legs, and others hind legs; two of each on a side."""
    counts = dict.fromkeys(_ENDS_OF_ANIMALS, 0)
    for name in names:
        for end, words in _ENDS_OF_ANIMALS.items():
            counts[end] += bool(name.side and name.words & words and name.words & _LEG_WORDS)
    return min(counts.values()) >= 4


def wings(names: Iterable[ParsedName]) -> bool:
    """Whether bones of both sides are called wings."""
    return {name.side for name in names if name.words & {"wing", "wings"}} >= {"left", "right"}


def _may_follow_side(word: str) -> bool:
    """Whether a word after "l" or "r" is a body part's, as in "rshoulder"."""
    return word in _part_words() or (len(word) >= _MIN_SUBSTRING and word in _helper_words())


@cache
def _is_helper(word: str) -> bool:
    helpers = _helper_words()
    if word in helpers or word.rstrip("s") in helpers:
        return True
    return any(known in word for known in _GLUED_HELPERS)


def _normalized(text: str) -> str:
    """Lower case, without accents and full-width forms (Unicode NFKC, then NFD)."""
    decomposed = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(character for character in decomposed if unicodedata.category(character) != "Mn")


@cache
def _part_words() -> dict[str, frozenset[str]]:
    parts_of: dict[str, set[str]] = {}
    for part, words in _PART_WORDS.items():
        for word in _normalized(words).split():
            parts_of.setdefault(word, set()).add(part)
    return {word: frozenset(parts) for word, parts in parts_of.items()}


@cache
def _words_by_length() -> list[tuple[str, frozenset[str], bool]]:
    """The words of parts, the longest first, their parts, and whether they count within another word."""
    words = sorted(_part_words().items(), key=lambda item: -len(item[0]))
    return [(word, parts, len(word) >= _MIN_SUBSTRING or not word.isascii()) for word, parts in words]


@cache
def _helper_words() -> frozenset[str]:
    return frozenset(_normalized(_HELPER_WORDS).split())


@cache
def _long_side() -> re.Pattern[str]:
    """A side's word and what follows it, or what is before one and the side's word."""
    marks = "|".join(word for known in _side_words().values() for word in sorted(known) if len(word) >= _MIN_SUBSTRING)
    return re.compile(rf"(?:({marks})(.+)|(.+?)({marks}))$")


@cache
def _side_words() -> dict[str, frozenset[str]]:
    return {side: frozenset(_normalized(words).split()) for side, words in _SIDE_WORDS.items()}
