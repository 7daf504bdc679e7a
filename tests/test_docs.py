"""The documents are complete: each error code and message has its entry, each option its line; links have targets."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tools.texts import HOLE, PACKAGE, Module, called, errors
from wham_blender.addon.ui import explanations

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

_NO_OPTIONS = {"storage_state", "show_options", "show_weights", "show_farm"}  # of the preferences
# Sentences that are no fault: what went well, what only the log says, what a panel explains.
NO_FAULTS = {
    "… is in the world of …, under its camera and at its time",
    "It was scaled by …",
    "Start Frame … was not used",
    "A cycle of … frames",
    "Planted feet slide by … cm/s, before planting by …",
    "… corrections are applied",
    "By the clip's metadata, it was filmed at … frames a second and is played at …: Slow Motion is …",
    "Draft quality, as asked for",
    "Fast quality, as asked for",
    "Draft quality, as Full quality needs an NVIDIA card and a PyTorch with CUDA",
    "Full quality lacks these files: …",
    "Full quality, as asked for",
    "Full quality, as its files and a CUDA card are here",
    "Networks of Full quality: …",
    "Solved: …, with a focal length of … mm (35 mm equivalent)",
    "The NVIDIA card is not used: …",
    "Its files are here: choose Full to have it nonetheless, at many seconds a frame",
    "Left out, as they are smaller than a tenth of person 1: person …",
    "Memory ran short: … processes … crops at a time now",
    "Not used: …",
    "PyTorch for the processor: …",
    "PyTorch with Apple's Metal",
    "PyTorch with CUDA: …",
    "The networks run on …",
    "The same PyTorch as before",
    "The worker is installed; Check Worker tells whether it works",
    "The worker is removed",
    "The worker is whole: Python …, PyTorch … on …; the self-test took … s",
    "The worker, weights and jobs are in … now",
    "Turn a clip of a person into a Motion file",
    "Turn many clips into Motion files",
    "… clips are done, … were done before, … failed",
    "Without a CUDA card it takes many seconds for every frame",
    "uv failed, so pip is used",
}


def opening(text: str) -> str:
    """A text's first sentence, without its full stop."""
    return re.split(r"(?<=[.?])\s", text)[0].removesuffix(".")


@cache
def sentences() -> dict[str, str]:
    """The openings of all sentences in the code, and where one is."""
    modules = [Module(path) for path in sorted(PACKAGE.rglob("*.py"))]
    return {opening(text): f"{module.name}:{line}" for module in modules for line, text in module.sentences()}


@cache
def codes() -> dict[str, str]:
    """The error codes in the sources, and where one is raised."""
    return {
        str(node.value.value): f"{path.relative_to(ROOT)}:{node.value.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.keyword) and node.arg == "code"
        and isinstance(node.value, ast.Constant) and node.value.value
    }  # fmt: skip


@cache
def coded_sentences() -> dict[str, str]:
    """The openings of sentences that are raised with a code, and their code."""
    found: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = Module(path)
        for node in ast.walk(module.tree):
            given = [each.value for each in getattr(node, "keywords", []) if each.arg == "code"]
            if isinstance(node, ast.Call) and given and isinstance(given[0], ast.Constant):
                found |= {opening(module.text(argument).strip()): str(given[0].value) for argument in node.args}
    return found


def listed() -> list[tuple[str, str]]:
    """Sentence and code of each line of the document; the code is empty where there is none."""
    text = (DOCS / "troubleshooting.md").read_text("utf-8")
    return re.findall(r"^- \*\*(.+)\*\*(?: \(([a-z0-9-]+)\))?$", text, flags=re.MULTILINE)


def entries() -> list[str]:
    return [sentence for sentence, _ in listed()]


def test_the_code_s_sentences_are_found():
    found = sentences()
    assert len(found) > 150
    for sentence in (
        "No person found in … (… frames looked at)",  # in a constructor
        "The disk of … is full",  # returned by a function
        "A downloaded package is not the one that this version of the add-on was made with, so it was deleted",
        "These are not weights of the WHAM network: …",  # to be formatted
        "The self-test failed: …",  # ends with another error's words
        "Leave Edit Mode first",  # a reason why a button is greyed out is shown on the button
    )[:-1]:
        assert sentence in found
    assert "Leave Edit Mode first" not in found


def test_each_code_has_its_entry_and_each_entry_a_code_of_the_sources():
    known = {code for _, code in listed()} - {""}
    assert len(codes()) > 80
    assert not [f"{code}   from {place}" for code, place in codes().items() if code not in known]
    assert sorted(known - set(codes())) == []
    of_entries = [code for entry in explanations.entries() for code in entry.codes]
    assert sorted(code for code in known if of_entries.count(code) != 1) == []


def test_each_sentence_is_listed_with_its_code():
    assert [(entry, code) for entry, code in listed() if coded_sentences().get(entry, code) != code] == []


def test_every_error_has_a_code():
    """An error without one is found by its words alone, which may change."""
    lacking = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            raised = node.exc if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) else None
            if (
                raised is not None
                and called(raised.func) in errors()
                and "code" not in {each.arg for each in raised.keywords}
            ):
                lacking.append(f"{path.relative_to(ROOT)}:{raised.lineno}")
    assert lacking == []


def test_each_sentence_of_an_error_has_its_entry():
    known = {*entries(), *NO_FAULTS}
    missing = [f"- **{sentence}**   from {place}" for sentence, place in sentences().items() if sentence not in known]
    assert not missing, "docs/troubleshooting.md lacks:\n" + "\n".join(missing)


def test_no_entry_is_out_of_date():
    said = set(sentences())
    assert [entry for entry in entries() if entry not in said] == []
    assert len(entries()) == len(set(entries()))
    assert sorted(NO_FAULTS - said) == []
    assert sorted(NO_FAULTS & set(entries())) == []


def test_each_entry_says_what_to_do():
    text = (DOCS / "troubleshooting.md").read_text("utf-8")
    for block in re.findall(r"(?:^- \*\*.+\*\*(?: \([a-z0-9-]+\))?\n)+\n?(.*)", text, flags=re.MULTILINE):
        assert len(block.split()) > 4, block


def test_each_entry_is_found_by_its_code_and_by_its_sentence():
    """The add-on shows the entry beside the message."""
    known = explanations.entries()
    assert [message for entry in known for message in entry.messages] == entries()
    assert len({entry.explanation for entry in known}) > 60
    assert {code for entry in known for code in entry.codes} == set(codes())
    for entry in known:
        for code in entry.codes:
            assert explanations.explain(code, "A sentence that was worded anew.") == entry.explanation
    said = {message: (f"{message.replace(HOLE, 'my walk.mp4')}. Do this, or that.", entry) for entry in known
            for message in entry.messages}  # fmt: skip
    lost = [m for m, (sentence, entry) in said.items() if explanations.explain("", sentence) != entry.explanation]
    assert lost == ["… is …"]  # too short to be recognised without its code
    old = "No person found in a b.mp4 (3 frames looked at). Choose one."
    assert "from head to foot" in explanations.explain("", old)
    assert explanations.explain("", "The moon is full.") == ""
    assert explanations.explain("no-such-code", old) == ""
    assert not [entry for entry in known if re.search(r"[*`\]]|\n", entry.explanation)]


def test_errors_end_as_sentences_do():
    """A person reads them: no error is half a sentence, unless another one follows in it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = Module(path)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and called(node.func) in errors() | {"Failed", "Warn"} and node.args:
                assert module.text(node.args[0]).endswith((".", "?", HOLE)), f"{module.name}:{node.lineno}"


def options(file: str, *classes: str) -> list[str]:
    """Names of the properties that classes of a file of the add-on have."""
    tree = ast.parse((PACKAGE / "addon" / file).read_text("utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and (not classes or node.name in classes)]
    annotated = [item for each in found for item in each.body if isinstance(item, ast.AnnAssign)]
    return [
        item.target.id
        for item in annotated
        if isinstance(item.target, ast.Name) and "Property" in ast.dump(item.annotation)
        and "HIDDEN" not in ast.dump(item.annotation)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "classes"),
    [
        ("properties.py", ["BakeOptions", "PlacementOptions", "VideoOptions"]),
        ("panels/preferences.py", []),
        *(
            (f"operators/{verb}.py", [])
            for verb in (
                "mark_contacts",
                "smooth_motion",
                "place_motion",
                "time_motion",
                "pin_pose",
                "correct_frames",
                "process_again",
            )
        ),
    ],
)
def test_each_option_is_explained(file, classes):
    text = (DOCS / "options.md").read_text("utf-8")
    names = [name for name in options(file, *classes) if name not in _NO_OPTIONS]
    assert names
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("document", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    text = document.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (document.parent / target).exists(), target


def test_the_readme_leads_to_every_document():
    text = (ROOT / "README.md").read_text("utf-8")
    assert [path.name for path in DOCS.glob("*.md") if f"docs/{path.name}" not in text] == []
