"""What bones' names say of part and side, in many languages and conventions. Standard library only."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

# Words for each part; a word that several parts claim ("shoulder" is Mixamo's collar and SMPL's upper arm) is a hint
# for all of them. English, German, French, Spanish, Italian, Portuguese, Russian, Chinese, Japanese (MMD).
_PARTS = {
    "pelvis": "pelvis hips hip root becken hüfte bassin hanches hanche pelvi cadera caderas bacino quadril таз 骨盆 臀 "
    "腰 下半身 センター",
    "spine": "spine chest torso abdomen ribcage ribs back waist lowerback upperchest wirbelsäule rücken brust bauch "
    "rumpf colonne dos poitrine torse thorax columna espalda espina pecho columnavertebral schiena torace petto coluna "
    "peito позвоночник спина грудь торс живот 脊柱 脊椎 胸 腰 上半身 背",
    "neck": "neck hals nacken cou cuello collo pescoço шея 颈 頸 脖子 首",
    "head": "head kopf tête cabeza testa cabeça голова 头 頭",
    "hip": "hip thigh upleg upperleg legupper femur leg oberschenkel hüfte cuisse jambe muslo pierna coscia gamba coxa "
    "perna бедро нога 大腿 太もも 足 脚",
    "knee": "knee shin calf lowerleg lowleg leglower leg tibia unterschenkel knie wade schienbein genou mollet jambe "
    "rodilla pantorrilla espinilla pierna ginocchio gamba polpaccio joelho canela perna колено голень 小腿 膝 膝盖 "
    "ひざ すね",
    "ankle": "ankle foot fuß fuss knöchel sprunggelenk pied cheville pie tobillo piede caviglia pé tornozelo стопа "
    "ступня лодыжка 脚 脚踝 足首 足",
    "foot": "toe toes ball toebase foot zeh zehe zehen ballen orteil orteils dedos puntera punta dita ponta носок "
    "пальцы 脚趾 脚尖 つま先 足先",
    "collar": "collar clavicle clavicula shoulder schlüsselbein schulter clavicule épaule clavícula hombro clavicola "
    "spalla ombro ключица плечо 锁骨 鎖骨 肩",
    "shoulder": "shoulder shldr upperarm uparm armupper humerus arm oberarm schulter bras épaule brazo hombro braccio "
    "spalla braço ombro плечо рука 上臂 大臂 腕",
    "elbow": "elbow forearm lowerarm lowarm armlower ulna unterarm ellbogen ellenbogen avantbras coude antebrazo codo "
    "avambraccio gomito antebraço cotovelo предплечье локоть 前臂 小臂 肘 ひじ",
    "wrist": "wrist hand palm handgelenk main poignet mano muñeca polso mão pulso кисть запястье 手腕 手 手首",
}  # fmt: skip
# Bones that deform a part without carrying it, or that carry nothing.
_HELPERS = (
    "twist roll ik pole target ctrl control helper end nub tip jiggle physics corrective correctiveroot adj sec skirt "
    "hair breast bust pectoral eye jaw ear tongue teeth brow lid lip nose cheek finger thumb index middle mid ring "
    "pinky little metacarpal carpal metatarsal metatarsals weapon prop gun dummy parent offset socket cloth tail wing "
    "daumen zeigefinger mittelfinger ringfinger pouce doigt pulgar палец 捩 親指 人指 中指 薬指 小指 指 目 髪 "
    "スカート 先"
)
_SIDES = {
    "left": "l left links linke linker gauche izq izquierda izquierdo sinistra sinistro sx esquerda esquerdo esq "
    "лев левая левый левое л 左",
    "right": "r right rechts rechte rechter droite droit der derecha derecho destra destro dx direita direito "
    "прав правая правый правое п 右",
}
_GLUED = 4  # letters from which on a word counts inside another one: "leftforearm"


@dataclass(frozen=True)
class Reading:
    """What a name says."""

    parts: frozenset[str]  # the parts that it may mean, keys of _PARTS; none where it says nothing
    side: str  # "left", "right" or ""
    helper: bool  # it names a twist, IK or other bone beside the body's chain


@cache
def read(name: str) -> Reading:
    """Read a bone's name."""
    spaced = re.sub(r"(?<=[a-zа-я])(?=[A-ZА-Я])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\D)(?=\d)|(?<=\d)(?=\D)", " ", name)
    # Chinese and Japanese names have no spaces: the side is the first character.
    spaced = re.sub(r"([左右])", r" \1 ", spaced)
    words = [word for word in re.split(r"[\W_\d]+", _simple(spaced)) if word]
    side = next((side for word in words for side, known in _sides().items() if word in known), "")
    if not side and words and words[0][:1] in "lr" and words[0][1:] in _vocabulary():
        side, words[0] = {"l": "left", "r": "right"}[words[0][0]], words[0][1:]
    words = [word for word in words if not any(word in known for known in _sides().values())]
    if not words:
        return Reading(frozenset(), side, False)
    parts, best = frozenset[str](), 0
    # The longest word that is there: "forearm" and not the "arm" in it.
    runs = {"".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1)}
    for word, meant in _vocabulary().items():
        glued = len(word) >= _GLUED or not word.isascii()
        if len(word) > best and (word in runs or (glued and any(word in run for run in runs))):
            parts, best = meant, len(word)
    return Reading(parts, side, any(word in _helpers() or word.rstrip("s") in _helpers() for word in words))


def _simple(text: str) -> str:
    """Without case, width and accents."""
    apart = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(character for character in apart if unicodedata.category(character) != "Mn")


@cache
def _vocabulary() -> dict[str, frozenset[str]]:
    claimed: dict[str, set[str]] = {}
    for part, words in _PARTS.items():
        for word in _simple(words).split():
            claimed.setdefault(word, set()).add(part)
    return {word: frozenset(parts) for word, parts in claimed.items()}


@cache
def _helpers() -> frozenset[str]:
    return frozenset(_simple(_HELPERS).split())


@cache
def _sides() -> dict[str, frozenset[str]]:
    return {side: frozenset(_simple(words).split()) for side, words in _SIDES.items()}
