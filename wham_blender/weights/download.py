"""Fetches one file over the network: resumed where it broke off, and checked before it counts. Standard library only.

What is not whole yet lies beside the target as NAME.part, with what the server said of it in NAME.part.json.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import Published, WeightsError, contents

Progress = Callable[[int, int], None]  # told the bytes that are there, and how many there will be (0: not known)

_BLOCK = 1 << 20  # bytes
_SILENCE = 30.0  # seconds without a byte, after which the connection counts as broken
_ATTEMPTS = 5  # in a row that brought nothing
_LOCAL = ("localhost", "127.0.0.1", "::1")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but never from an encrypted connection to a bare one."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    entry: Published,
    folder: Path,
    progress: Progress,
    account: tuple[str, str] | None = None,
    pause: float = 1.0,
    also: Sequence[Published] = (),
) -> Path:
    """Fetch a published file into a folder and return its path.

    account: name and password, for an entry that wants them; they are sent and kept nowhere. pause: seconds before
    the second attempt, longer before each one after that. also: other files of the same archive, unpacked beside it as
    far as they are in there.
    Raises WeightsError with a sentence; what was fetched before a broken connection is kept for the next time.
    """
    target = folder / entry.name
    arrived = folder / (Path(urllib.parse.urlsplit(entry.address).path).name + ".zip" if entry.member else entry.name)
    part = arrived.with_name(f"{arrived.name}.part")
    _check_address(entry.address)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(entry, part, progress, account, pause)
        _check_hash(entry, part)
        if entry.member:
            fetched = part
            part = target.with_name(f"{target.name}.part")
            try:
                _unpack(entry, fetched, part)
                for other in also:
                    with suppress(WeightsError):
                        _unpack(other, fetched, folder / f"{other.name}.part").replace(folder / other.name)
            finally:
                _remove(fetched)
        found = contents.recognise(part)
        if found.role != entry.kind:
            _remove(part)
            raise WeightsError(
                f"What {_host(entry.address)} sent as {entry.name} is not {entry.title}: it seems to be "
                f"{found.description}. Open the page and fetch the file by hand."
            )
        part.replace(target)
        _remove(part)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise
        raise WeightsError(
            f"{entry.name} cannot be written to {folder}: {error.strerror}. Make room there, or choose another folder."
        ) from error
    return target


def _fetch(entry: Published, part: Path, progress: Progress, account: tuple[str, str] | None, pause: float) -> None:
    """Bring ``part`` to its full length, with as many connections as it takes."""
    failures = 0
    while not _size(part) or _size(part) != _said(part)[1]:
        before = _size(part)
        try:
            if _connect(entry, part, progress, account):
                return
            reason = "it ended too early"
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", None) or error or type(error).__name__)
            if isinstance(error, urllib.error.HTTPError) and error.code not in (408, 416, 429, 500, 502, 503, 504):
                raise WeightsError(_refused(entry, error.code)) from error
        failures = 0 if _size(part) > before else failures + 1
        if failures >= _ATTEMPTS:
            raise WeightsError(
                f"The connection to {_host(entry.address)} broke off ({reason}); {_size(part) / 1e6:.0f} MB of "
                f"{entry.name} are here. Check the internet connection and click Download again: it goes on from there."
            )
        time.sleep(pause * failures)


def _connect(entry: Published, part: Path, progress: Progress, account: tuple[str, str] | None) -> bool:
    """One connection; whether ``part`` is whole after it."""
    have, validator = _size(part), _said(part)[0]
    request = urllib.request.Request(entry.address, headers={"User-Agent": "wham_blender"})  # noqa: S310 - checked
    if account:
        form = {"username": account[0], "password": account[1]}
        request.data = urllib.parse.urlencode(form).encode()
    if have and validator:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator)
    try:
        answer = urllib.request.build_opener(_Redirects).open(request, timeout=_SILENCE)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what is here is not a beginning of what is there
            _remove(part)
        raise
    with answer:
        if answer.status != 206 or _begins(answer) != have:
            have = 0
        total = _total(answer, have)
        _check_answer(entry, answer, have, total, part)
        said = answer.headers["ETag"] or answer.headers["Last-Modified"] or "", total
        _beside(part).write_text(json.dumps(said), "utf-8")
        with part.open("ab" if have else "wb") as stream:
            progress(have, total)
            while block := answer.read(_BLOCK):
                if not have and contents.is_page(block):
                    raise WeightsError(_page(entry))
                stream.write(block)
                have += len(block)
                progress(have, total)
    if total and have > total:
        _remove(part)
        raise WeightsError(f"{_host(entry.address)} sent more than it had announced of {entry.name}. Try again later.")
    return have == total if total else True


def _check_answer(entry: Published, answer: Any, have: int, total: int, part: Path) -> None:
    """Refuse, before a byte is kept, a page, a file of another size, and one that does not fit on the disk."""
    if answer.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise WeightsError(_page(entry))
    if entry.size and total and total != entry.size:
        _remove(part)
        raise WeightsError(
            f"{entry.name} at {_host(entry.address)} has {total / 1e6:.1f} MB instead of {entry.size / 1e6:.1f}: it is "
            "not the file that this add-on knows. Open the page and fetch it by hand."
        )
    free = shutil.disk_usage(part.parent).free
    if total - have > free:
        raise WeightsError(
            f"{entry.name} needs {(total - have) / 1e9:.1f} GB and {part.parent} has {free / 1e9:.1f} GB left. "
            "Make room there, or choose another folder."
        )


def _check_hash(entry: Published, part: Path) -> None:
    if not entry.sha256:
        return
    with part.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != entry.sha256:
        _remove(part)
        raise WeightsError(
            f"{entry.name} arrived damaged, or is not the file that this add-on knows: its SHA-256 is not the one in "
            "the list. It was deleted; click Download to try again."
        )


def _unpack(entry: Published, archive: Path, target: Path) -> Path:
    """Copy the one wanted file out of a zip, wherever it lies in there; no name in it is used as a path."""
    try:
        with zipfile.ZipFile(archive) as files:
            (member,) = [each for each in files.infolist() if each.filename.rpartition("/")[2] == entry.member]
            with files.open(member) as source, target.open("wb") as stream:
                shutil.copyfileobj(source, stream, _BLOCK)
        return target
    except (zipfile.BadZipFile, ValueError) as error:
        raise WeightsError(
            f"What {_host(entry.address)} sent does not hold {entry.member}. Open the page and fetch it by hand."
        ) from error


def _page(entry: Published) -> str:
    if entry.account:
        return (
            f"{_host(entry.address)} did not accept the name and password: it answered with a web page. Check both, "
            "and on its page that your account has agreed to the licence."
        )
    return (
        f"{_host(entry.address)} answered with a web page instead of {entry.name}: perhaps it wants you to sign in, "
        "or too many people fetched the file today. Open the page and fetch it by hand, then choose the file."
    )


def _refused(entry: Published, code: int) -> str:
    if code in (401, 403) and entry.account:
        return _page(entry).replace("it answered with a web page", f"it answered {code}")
    return (
        f"{_host(entry.address)} does not give out {entry.name} (it answered {code}). Open the page and fetch it by "
        "hand."
    )


def _check_address(address: str) -> None:
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise WeightsError(f"{parts.hostname or address} asks for a connection that is not encrypted. It was refused.")


def _begins(answer: Any) -> int:
    """The first byte of a partial answer, from ``bytes 100-199/200``."""
    first = (answer.headers["Content-Range"] or "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdecimal() else -1


def _total(answer: Any, have: int) -> int:
    length = answer.headers["Content-Length"] or ""
    return have + int(length) if length.isdecimal() else 0


def _said(part: Path) -> tuple[str, int]:
    """What the server said of the file: which version it is, empty where it does not tell, and its length, or 0."""
    try:
        version, total = json.loads(_beside(part).read_text("utf-8"))
        return str(version), int(total)
    except (OSError, ValueError, TypeError):
        return "", 0


def _beside(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _host(address: str) -> str:
    return urllib.parse.urlsplit(address).hostname or address


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _remove(part: Path) -> None:
    part.unlink(missing_ok=True)
    _beside(part).unlink(missing_ok=True)
