"""The texts that the add-on shows, read from its source: for the documents' test and for the translations.

``python3 tools/texts.py`` says which translations are missing and which nothing uses; with ``--list``, it writes the
texts in English as JSON, in the order of the files. A text that the code fills in has numbered holes: "{0} is empty".
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wham_blender"
LANGUAGES = PACKAGE / "addon" / "translations"
HOLE = "…"  # what the code fills in: a name, a number, another sentence
SHOWERS = {"draw_sentence", "label"}  # what panels explain, or show of what was said elsewhere
SAYERS = {"Failed", "Warn", "_refuse", "_failed", "report"}  # what is called with a sentence, beside the errors

# Files whose half sentences only the log, the terminal or a report for whoever helps reads, or words of bones' names:
# they stay English. Their whole sentences are translated nonetheless.
DETAILS = {
    "array_file.py", "bone_names.py", "cache.py", "calibration.py", "camera_motion.py", "error_report.py",
    "explanations.py", "farm_job.py", "job_process.py", "launch.py", "loading.py", "options.py", "protocol.py",
    "reference_pose.py", "smpl_armature.py", "terminal.py", "vrm_humanoid.py",
}  # fmt: skip
# Folders of commands that the add-on does not start: only a terminal shows their texts, in English.
COMMANDS = {"batch"}
# Words in places of texts that are names, or the same in all languages.
NAMES = {
    "", "%", "WHAM", "PyTorch", "CPU", "FBX", "BVH", "Godot, glTF", "Unreal Engine", "Unity", "USD", "SMPL", "YOLO",
    "HMR2.0", "ViTPose-H", "X", "Y", "Z", "0°", "90°", "180°", "270°", "NVIDIA GPU", "OK", "…", "check", "install",
    "Deadline Cloud", "Flamenco", "Flamenco Manager",
}  # fmt: skip
# Classes whose properties no panel draws.
RECORDS = {"WHAM_PG_motion"}
# What looks like a text and is none: keys of stages, paths of files, and what only the console prints.
NOT_SHOWN = re.compile(
    r"not enough memory\|.*|"
    r"Base Color|Shape Keys|Rig under test|Contact probabilities|Application Support|check files|download \(MB\)|"
    r"move \(MB\)|download, MB|PNG or JPEG|job output|looking through files|C:/Program.*|motion capture|[LR] step|"
    r"BEGIN EXCLUSIVE|SELECT .*|Object only|no bone|BT\.2020.*|SMPTE.*|Installing collected|as asked for|"
    r"no window|Blender … .*|… meanwhile|POSE|REST|… film|… camera|… Person …|… s, made with.*|1 where the .*|"
    r"How (likely|surely) the .*|Confidence of the keypoints, .*|Number of the frame of the clip, .*|… …|… … GB|… is|"
    r"f holds no .*|2 if .*|… if … else …|Python …, …; …|python -I .*|Turn a clip of a person into a .*|import .*|"
    r"look at packages|load PyTorch|Examined in|… at …|…, … processor cores|… \(tried with …\)|"
    r"Other versions than tried|"
    r"CUDA …|PyTorch's build|processor or Metal|compute capability ….…|not used: …|NVIDIA's driver|"
    r"… frames, mean confidence …, … s|The NVIDIA card is not used: ….|"
    r"the cycle must be longer than .*|the bodies have not the same .*|there is nothing to bridge.*|no person to save|"
    r"any YOLO|its file|it has more … than …|"
    r"Wrote …|no CUDA card|upper body|, … s left|… of ……|Person …: frames … to …, … of the picture high"
)


class Module:
    """The texts of one file of the package, with what the code fills in left open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.relative_to(ROOT).as_posix()
        self.tree = ast.parse(path.read_text("utf-8"))
        self._constants = {
            target.id: node.value
            for node in self.tree.body
            if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name)
        }

    def text(self, node: ast.expr) -> str:
        """What an expression says."""
        match node:
            case ast.Constant(value=str(words)):
                return re.sub(r"\{[^{} ]*\}", HOLE, words)
            case ast.JoinedStr(values=parts):
                return "".join(map(self.text, parts))
            case ast.FormattedValue(value=value):
                return self.text(value) if isinstance(value, ast.Name) else HOLE
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.text(left) + self.text(right)
            case ast.Name(id=name) if isinstance(self._constants.get(name), ast.Constant):
                return self.text(self._constants[name])
        return HOLE

    def _parts(self) -> set[str]:
        """Names of constants that stand within other texts."""
        joined = [node for node in ast.walk(self.tree) if isinstance(node, (ast.JoinedStr, ast.BinOp))]
        return {part.id for text in joined for part in ast.walk(text) if isinstance(part, ast.Name)}

    def _told(self) -> set[int]:
        """Documentation, and constants that are told within other texts."""
        told = {
            id(documented.body[0].value)
            for documented in ast.walk(self.tree)
            if isinstance(documented, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and isinstance(documented.body[0], ast.Expr)
        }
        return told | {id(self._constants[name]) for name in self._parts() if name in self._constants}

    def sentences(self) -> Iterator[tuple[int, str]]:
        """Line and text of every literal that is a sentence, and of all that are called with one."""
        told = self._told()
        for node in ast.walk(self.tree):  # from the outside in
            if isinstance(node, ast.Call) and called(node.func) in SHOWERS:
                told |= {id(part) for part in ast.walk(node)}
            if isinstance(node, ast.Call) and called(node.func) in SAYERS | errors() and _kind(node) != "INFO":
                for argument in node.args:
                    if (text := self.text(argument).strip()).strip(HOLE):
                        yield node.lineno, text
            if isinstance(node, (ast.JoinedStr, ast.BinOp)):
                told |= {id(part) for part in ast.walk(node) if part is not node}
            if id(node) not in told and isinstance(node, (ast.JoinedStr, ast.BinOp, ast.Constant)):
                text = self.text(node).strip()
                if re.search(r"\w.*\s.*\s.*[.?]$", text):
                    yield node.lineno, text

    def shown(self) -> list[str]:
        """All texts of the file that a user may see, in its order."""
        found = {(line, text) for line, text in self.sentences()} | set(self._labels())
        if self.path.name not in DETAILS:
            found |= set(self._fragments())
        ordered = dict.fromkeys(text for _, text in sorted(found))
        return [text for text in ordered if _is_text(text)]

    def _labels(self) -> Iterator[tuple[int, str]]:
        """Line and text of what stands where Blender draws it: labels, descriptions, items and drawn literals."""
        if "addon" not in self.path.parts:
            return
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef) and "_OT_" in node.name and (text := ast.get_docstring(node)):
                yield node.lineno, " ".join(text.split())
            if isinstance(node, ast.ClassDef) and node.name in RECORDS:
                for part in ast.walk(node):  # nothing of it is drawn
                    if isinstance(part, ast.Call):
                        part.keywords.clear()
            if isinstance(node, ast.ClassDef) and node.name == "Status":  # of a job: its values are shown
                yield from ((each.lineno, self.text(each.value)) for each in node.body if isinstance(each, ast.Assign))
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and (
                node.targets[0].id in {"bl_label", "bl_description", "bl_category"}
            ):  # fmt: skip
                yield node.lineno, self.text(node.value)
            if isinstance(node, ast.Call) and "HIDDEN" not in ast.dump(node):
                is_property = called(node.func).endswith("Property")
                for given in node.keywords:
                    if given.arg in ({"name", "description"} if is_property else {"text", "heading"}):
                        yield from ((part.lineno, self.text(part)) for part in _choices(given.value))
            if {"panels", "ui"} & set(self.path.parts):
                words = r"[A-Z][a-z]+" if isinstance(node, ast.Constant) else r"[a-z]{3,}"
                texts = (
                    [(each.lineno, self.text(each)) for each in _choices(node)] if isinstance(node, ast.expr) else []
                )
                yield from (each for each in texts if re.fullmatch(words, each[1]))
            if isinstance(node, ast.Tuple) and len(node.elts) in (3, 4, 5) and _is_item(node):
                yield from ((part.lineno, self.text(part)) for part in node.elts[1:3])

    def _fragments(self) -> Iterator[tuple[int, str]]:
        """Line and text of other literals of several words: clauses, reasons, what goes well."""
        told = self._told()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef) and node.name in RECORDS:
                told |= {id(part) for part in ast.walk(node)}
            if isinstance(node, ast.Call) and called(node.func) in {
                "compile",
                "search",
                "add_argument",
                "print",
                "run",
            }:
                told |= {id(part) for part in ast.walk(node)}
            if isinstance(node, (ast.JoinedStr, ast.BinOp)):
                holes = [part.value for part in ast.walk(node) if isinstance(part, ast.FormattedValue)]
                choices = {id(part) for hole in holes for part in _choices(hole)}
                told |= {id(part) for part in ast.walk(node) if part is not node and id(part) not in choices}
            if id(node) not in told and isinstance(node, (ast.JoinedStr, ast.BinOp, ast.Constant)):
                text = self.text(node)
                if re.search(r"[^\W\d]{2,}\)?[,:;]? |[ …][^\W\d]{2,}", text.strip()) and " " in text.strip():
                    yield node.lineno, text


def called(function: ast.expr) -> str:
    """The name of what a call calls."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _kind(call: ast.Call) -> str:
    """What an operator reports: "ERROR", "WARNING" or "INFO"; empty for other calls."""
    if called(call.func) != "report":
        return ""
    return next(
        (str(part.value) for argument in call.args for part in ast.walk(argument) if isinstance(part, ast.Constant)), ""
    )


def _choices(node: ast.expr) -> Iterator[ast.expr]:
    """The texts that an expression may be: itself, or both sides of a condition."""
    if isinstance(node, ast.IfExp):
        yield from _choices(node.body)
        yield from _choices(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for each in node.values:
            yield from _choices(each)
    elif isinstance(node, (ast.Constant, ast.JoinedStr)):
        yield node


def _is_item(node: ast.Tuple) -> bool:
    """Whether a tuple is an item of an enum: identifier, name and description."""
    first, *texts = node.elts
    return (
        isinstance(first, ast.Constant)
        and isinstance(first.value, str)
        and all(isinstance(each, (ast.Constant, ast.JoinedStr)) for each in texts[:2])
        and all(isinstance(each.value, str) for each in texts[:2] if isinstance(each, ast.Constant))
        and len(texts) < 5
        and bool(re.fullmatch(r"[A-Z0-9_]+", first.value))
    )


def _is_text(text: str) -> bool:
    """Whether a translation can differ: more than names, numbers and holes."""
    code = re.search(r"https?://\S+$|^\S*[\\\[_=]\S*$|^[a-z_]+(?:\.| ?=)|…_|_…|\\[wds]", text)
    words = re.search(r"[^\W\d_]{2,}", text.replace(HOLE, ""))
    return text not in NAMES and bool(words) and not code and not NOT_SHOWN.fullmatch(" ".join(text.split()))


@cache
def errors() -> set[str]:
    """The package's own exceptions whose text is shown: subclasses of CodedError."""
    trees = [ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    names = {"CodedError"}
    while more := {each.name for each in classes if names & {called(base) for base in each.bases}} - names:
        names |= more
    return names


def numbered(text: str) -> str:
    """A text with numbers in its holes."""
    first, *rest = text.split(HOLE)
    return first + "".join(f"{{{number}}}{part}" for number, part in enumerate(rest))


def _of_weights() -> list[str]:
    """What the weight files of Full quality do, as the preferences say; the terms of their licences stay English."""
    manifest = tomllib.loads((ROOT / "bundled_weights/manifest.toml").read_text("utf-8"))
    return [file["does"] for files in manifest.values() for file in files if "does" in file]


def _of_presets() -> list[str]:
    """The names of the presets that ship, which Blender makes of their files' names."""
    return [path.stem.replace("_", " ") for path in sorted((PACKAGE / "presets").rglob("*.py"))]


@cache
def templates() -> tuple[str, ...]:
    """The texts of the add-on, each once, with numbered holes."""
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name not in COMMANDS]
    of_code = [text.strip() for path in files for text in Module(path).shown()]
    return tuple(numbered(text) for text in dict.fromkeys(of_code + _of_weights() + _of_presets()) if text not in NAMES)


def main() -> int:
    """Print what each language lacks, or the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", type=Path, help="write the texts in English as JSON")
    given = parser.parse_args()
    print(f"{len(templates())} texts")
    if given.list:
        given.list.write_text(json.dumps(dict.fromkeys(templates(), ""), ensure_ascii=False, indent=1), "utf-8")
        return 0
    found = False
    for path in sorted(LANGUAGES.glob("*.json")):
        known = json.loads(path.read_text("utf-8"))
        for what, keys in (
            ("lacks", [each for each in templates() if not known.get(each)]),
            ("has, and nothing uses", [each for each in known if each not in templates()]),
        ):
            found |= bool(keys)
            print(*(f"{path.name} {what}: {json.dumps(key, ensure_ascii=False)}" for key in keys), sep="\n", end="")
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
