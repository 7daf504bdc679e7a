"""Backends: which networks and weight files each quality setting uses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from ... import weights
from ...weights.library import NEEDED, Library
from ..errors import PipelineError

_LACKS_PACKAGES = (
    "The worker lacks the packages of Full quality: click Install Packages for Full Quality in the preferences."
)
QUALITIES = ("auto", "fast", "draft", "mixed", "full")


@dataclass(frozen=True)
class Backend:
    """The weight files of one quality setting by role, each with its hash.

    Roles are those of `weights.manifest` and of `weights.published`.
    """

    quality: str  # fast, draft, mixed or full
    reason: str  # why it was chosen, a sentence for the log
    files: dict[str, weights.WeightFile]
    published: bool = False  # whether WHAM's weights are the published ones

    @property
    def detection_hashes(self) -> list[str]:
        """Hashes of the files on which the first stage's detections and keypoints depend."""
        roles = ("detector", "yolo", "landmarks", "vitpose", "hands")
        return [self.files[role].sha256 for role in roles if role in self.files]

    def with_hands(self) -> Backend:
        """The same, which also sees hands. Raises WeightsError if their file is damaged."""
        return replace(self, files=self.files | _open("hands", "hand_lifter"))

    @property
    def keeps_crops(self) -> bool:
        """Whether the first stage saves each person's crops for HMR2.0."""
        return "hmr2" in self.files


def choose(quality: str, device: str, folder: Path | None = None) -> Backend:
    """The backend for one of QUALITIES on a device, with the files of the library in ``folder`` (None: the user's).

    auto: full if its files and a CUDA card are available; mixed with a card and some of the files; else draft. Raises
    PipelineError if full is requested and files are missing, WeightsError if one is damaged.
    """
    library = Library(folder)
    missing = [entry.title for entry in library.missing()]
    card = device != "cpu"
    if quality == "draft":
        return _draft("Draft quality, as asked for.")
    if quality == "fast":
        draft = _draft("Fast quality, as asked for.")
        return replace(draft, quality="fast", files=draft.files | {"landmarks": weights.find("landmarks_fast")})
    if quality == "full":
        if missing:
            raise PipelineError(
                f"Full quality needs files that are missing: {', '.join(missing)}. Get them in the add-on's "
                "preferences, or choose Auto or Draft.",
                code="full-quality-files-missing",
            )
        _check_packages(set(NEEDED))
        slow = "" if card else "Without a CUDA card it takes many seconds for every frame."
        return _published(library, set(NEEDED), _text("Full quality, as asked for.", slow))
    lacks = f"Full quality lacks these files: {', '.join(missing)}." if missing else ""
    if quality == "auto" and not card:
        here = "" if missing else "Its files are here: choose Full to have it nonetheless, at many seconds a frame."
        no_card = "Draft quality, as Full quality needs an NVIDIA card and a PyTorch with CUDA."
        return _draft(_text(no_card, here, lacks))
    useful = _useful({role for role in NEEDED if library.path(role)})
    if quality == "auto" and _lacks_packages(useful):
        return _draft(_text("Draft quality.", _LACKS_PACKAGES, lacks))
    _check_packages(useful)
    if not missing:
        return _published(library, set(NEEDED), "Full quality, as its files and a CUDA card are here.")
    if not useful:
        return _draft(_text("Draft quality.", lacks))
    titles = ", ".join(weights.published_for(role).title for role in NEEDED if role in useful)
    reason = f"Networks of Full quality: {titles}. The others are those of Draft quality."
    return _published(library, useful, _text(reason, lacks))


def _useful(available: set[str]) -> set[str]:
    """The published files that can be used without the missing ones.

    HMR2.0's features fit the published WHAM only: the open WHAM was trained on the open lifter's.
    """
    return available if "wham" in available else available - {"hmr2"}


def _lacks_packages(roles: set[str]) -> bool:
    """Whether this Python lacks packages that these published networks need.

    They are for YOLO, and for ByteTrack, which follows people where the landmark net does not run.
    """
    return ("yolo" in roles or {"vitpose", "hmr2"} <= roles) and find_spec("ultralytics") is None


def _check_packages(roles: set[str]) -> None:
    if _lacks_packages(roles):
        raise PipelineError(f"{_LACKS_PACKAGES} Or choose Draft quality.", code="full-packages-missing")


def _draft(reason: str) -> Backend:
    return Backend("draft", reason, _open("detector", "landmarks", "lifter", "temporal", "wham", "body"))


def _published(library: Library, roles: set[str], reason: str) -> Backend:
    """Published networks for the roles, open ones for the others.

    The open lifter needs points that only the landmark net gives: feet, hands and depth. So if the lifter is used, the
    landmark net runs, too, and its points go to the lifter, which was trained with its errors; ViTPose's keypoints go
    to WHAM, to the translation in the camera and to SMPLify.
    """
    files = {role: library.file(role) for role in NEEDED if role in roles}
    if "yolo" not in roles:
        files |= _open("detector")
    if "hmr2" not in roles:
        files |= _open("lifter", "temporal")
    if "hmr2" not in roles or "vitpose" not in roles:
        files |= _open("landmarks")
    if "wham" not in roles:
        files |= _open("wham", "body")
    elif library.path("smpl"):
        files["smpl"] = library.file("smpl")
    quality = "full" if roles == set(NEEDED) else "mixed"
    return Backend(quality, reason, files, "wham" in roles)


def _open(*roles: str) -> dict[str, weights.WeightFile]:
    return {role: weights.find(role) for role in roles}


def _text(*sentences: str) -> str:
    """The sentences that there are, one after the other."""
    return " ".join(filter(None, sentences))
