"""How pip is called, whatever its user has set up, and what its output means. No bpy.

pip reads its own files of settings and PIP_* variables. Those that say where packages come from and how to get there
are respected, as a company's index, proxy and certificates must be. Those that say where and how packages are
installed are not: ``user``, ``target`` or ``prefix`` would put them elsewhere, ``require-virtualenv``, ``constraint``
or ``no-binary`` would refuse them. For that pip gets no files, and the respected settings as PIP_* variables.
"""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import urllib.request
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

from ... import limits, protocol, records
from ...folders import data_folder
from . import python_environment
from .python_environment import WorkerError

RESPECTED = (
    "index-url", "extra-index-url", "no-index", "find-links", "trusted-host", "keyring-provider",
    "proxy", "cert", "client-cert", "timeout", "default-timeout", "retries",
)  # fmt: skip
_NUMBERS = {"timeout", "default-timeout", "retries"}
# Not "pip config list": it takes the user's settings for its own, and with "user" it lists one file only. Older pips
# give names and values, newer ones the dictionaries of the files.
_LIST = """
import json
from pip._internal.configuration import Configuration
settings = Configuration(isolated=False)
settings.load()
found = []
for name, value in settings.items():
    found += value.items() if isinstance(value, dict) else [(name, value)]
print(json.dumps([[str(name), str(value)] for name, value in found]))
"""
_SECTIONS = ("global", "install", ":env:")  # each goes before those on its left
_SECONDS = 60.0  # for pip to list its settings, which takes a fraction of one
_SYSTEM_STORE = (24, 2)  # the first pip that uses the system's store of certificates by itself
# Where systems keep certificates that this Python's OpenSSL does not know of (truststore has the same list).
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/cert.pem", "/etc/ssl/ca-bundle.pem")
_KEPT_LINES = 200  # of pip's log, in which the reason for its failure is searched
_REASON = re.compile(r"Could not fetch URL|Retrying \(|ERROR: ")


def settings(python: Path) -> dict[str, str]:
    """The settings of RESPECTED that the user of an environment's pip has made, by name; empty where there are none."""
    try:
        listed = subprocess.run(
            [str(python), "-I", "-c", _LIST],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=True, encoding="utf-8",
            errors="replace",
        ).stdout  # fmt: skip
        found = records.value_of(list[list[str]], records.parse(listed, limits.MESSAGE_BYTES), "settings")
    except (OSError, subprocess.SubprocessError, records.InvalidRecord) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().rpartition("pip._internal.exceptions.")[2]
        said = _without_passwords(" ".join(said.split())[:300])
        protocol.send(
            protocol.Warn(
                f"pip's settings cannot be read, so packages are installed without them ({said}).",
                code="pip-settings-unreadable",
            )
        )
        return {}
    by_section: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for key, value in found:
        section, _, name = key.rpartition(".")
        if section in by_section and name in RESPECTED and (name not in _NUMBERS or _is_number(value)):
            by_section[section][name] = value
    return {name: value for section in _SECTIONS for name, value in by_section[section].items()}


def _is_number(value: str) -> bool:
    """Whether it is a number: pip would end with an error for another value."""
    return re.fullmatch(r"\s*\d{1,6}\s*", value) is not None


def environment(respected: dict[str, str]) -> dict[str, str]:
    """The variables for a pip that gets these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    own = {f"PIP_{name.upper().replace('-', '_')}": value for name, value in respected.items()}
    return kept | own | {"PIP_CONFIG_FILE": os.devnull}


def certificate_options(python: Path, respected: dict[str, str], folder: Path) -> list[str]:
    """Options with which an old pip, too, trusts the system's certificates; the file of them is made in ``folder``.

    Python 3.11 brings such a pip, and companies put the certificates of their proxies into the system's store.
    """
    packages = next(python.parents[1].glob("[Ll]ib/**/site-packages/pip-*.dist-info"), None)
    version = re.match(r"pip-(\d+)\.(\d+)", packages.name if packages else "")
    chosen = respected.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if packages is None or version is None or chosen or (int(version[1]), int(version[2])) >= _SYSTEM_STORE:
        return []
    context = ssl.create_default_context()
    for path in _CERTIFICATES:
        if Path(path).is_file():
            context.load_verify_locations(path)
    certificates = [ssl.DER_cert_to_PEM_cert(each) for each in context.get_ca_certs(binary_form=True)]
    with_pip = packages.parent / "pip/_vendor/certifi/cacert.pem"
    if not certificates or not with_pip.is_file():
        return []
    bundle = folder / "certificates.pem"
    bundle.write_text(with_pip.read_text("utf-8") + "\n" + "".join(certificates), "utf-8")
    return ["--cert", str(bundle)]


def reasons(log: Path) -> list[str]:
    """The lines of pip's log that tell why it failed; its output leaves most of them out."""
    try:
        with log.open(encoding="utf-8", errors="replace") as stream:
            lines = (line.partition(" ")[2][: limits.TEXT] for line in stream if _REASON.search(line))
            return list(deque(lines, maxlen=_KEPT_LINES))
    except OSError:
        return []


def explain(output: list[str], respected: dict[str, str] | None = None) -> WorkerError | None:
    """The error for the output of a failed pip or uv, with the settings that it had; None if the cause is unknown."""
    text, respected = "".join(output), respected or {}
    return (
        _changed_or_full(text)
        or _way_to_index(text, respected)
        or _not_in_index(text, respected)
        or _not_writable(text)
    )


def _changed_or_full(text: str) -> WorkerError | None:
    if re.search(r"do not match the hashes|Hash mismatch", text, re.IGNORECASE):
        return WorkerError(
            "A downloaded package is not the one that this version of the add-on was made with, so it was deleted. Try "
            "again; if it happens again, something between this computer and the package index changes files. The log "
            "names it.",
            code="package-changed",
        )
    if re.search(r"No space left|not enough space|Errno 28\b|WinError 112|os error (28|112)\b", text, re.IGNORECASE):
        return WorkerError(
            f"The disk of {data_folder()} is full. Make room and click Install Worker again: it "
            "goes on from there. Or move the files to another disk in the preferences.",
            code="worker-disk-full",
        )
    return None


def _way_to_index(text: str, respected: dict[str, str]) -> WorkerError | None:
    """The error if something between this computer and the index, or the index itself, refuses."""
    if path := re.search(r"TLS (?:CA certificate bundle|certificate file|key file), invalid path: (.+)", text):
        return WorkerError(
            f"The file of certificates {path[1].strip()}, which pip is set up with, is not there. Correct cert or "
            "client-cert in pip's settings, or the environment variable REQUESTS_CA_BUNDLE.",
            code="pip-certificate-missing",
        )
    if re.search(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|invalid peer certificate", text, re.IGNORECASE):
        return WorkerError(
            f"The certificate of {_host(text)} is not trusted. A company's proxy or a virus scanner that reads "
            "encrypted connections has one of its own: ask for its file, make it known with pip config set "
            "global.cert FILE, and click Install Worker again.",
            code="package-index-certificate",
        )
    if re.search(r"\b407\b.*Proxy|Proxy Authentication Required", text, re.IGNORECASE):
        return WorkerError(
            f"The proxy {_proxy(respected)} asks for a user name and password. Write both into its address in pip's "
            "settings, as http://NAME:PASSWORD@HOST:PORT, and click Install Worker again.",
            code="proxy-password",
        )
    if re.search(r"ProxyError|proxy connection error|connect to proxy|tunnel error", text, re.IGNORECASE):
        return WorkerError(
            f"The proxy {_proxy(respected)} does not answer. Correct its address in pip's settings or in the "
            "environment variable HTTPS_PROXY, and click Install Worker again.",
            code="proxy-unreachable",
        )
    if insecure := re.search(r"repository located at (\S+) is not a trusted or secure host", text):
        return WorkerError(
            f"The package index {insecure[1]} is not used, because its address begins with http:// and anybody on the "
            "way could change it. Use its https:// address in pip's settings, or run pip config set "
            "global.trusted-host HOST.",
            code="package-index-not-encrypted",
        )
    if refused := re.search(r"\b(401|403) (?:Client Error|Unauthorized|Forbidden)", text):
        return WorkerError(
            f"The package index {_host(text)} asks for a user name and password, or refuses this computer (it answered "
            f"{refused[1]}). Write both into its address in pip's settings, as https://NAME:PASSWORD@HOST, or into the "
            "file .netrc, and click Install Worker again.",
            code="package-index-password",
        )
    if re.search(
        r"connection broken|connection error|Failed to establish|name resolution|timed out|SSLError|"
        r"error sending request|dns error|Connection reset|failed to fetch|IncompleteRead|"
        r"\b5\d\d (error responses|Server Error)",
        text,
        re.IGNORECASE,
    ):
        return WorkerError(
            "The package index could not be reached. Check the internet connection and click Install Worker again: "
            "complete downloads are kept.",
            code="package-index-unreachable",
        )
    return None


def _not_in_index(text: str, respected: dict[str, str]) -> WorkerError | None:
    """The error if the packages are not where they were looked for."""
    if not re.search(r"No matching distribution|no version of|has no wheels|No solution found", text, re.IGNORECASE):
        return None
    if respected.get("no-index", "").strip().lower() in ("1", "true", "yes", "on", "y", "t"):
        return WorkerError(
            "pip is set up to use no package index (no-index), and the folders that it may use lack a package of the "
            "worker. Choose a Packages Folder in the preferences, or run pip config unset for no-index.",
            code="pip-no-index",
        )
    if index := respected.get("index-url"):
        return WorkerError(
            f"The package index {_address(index)}, which pip is set up with, lacks a package of the worker. Ask for "
            "it there, or choose a Packages Folder in the preferences. The log names it.",
            code="package-index-incomplete",
        )
    return WorkerError(
        "There are no worker packages for this computer, or not in the folder that was chosen for them. They exist "
        "for Linux and Windows on 64-bit Intel or AMD, and for macOS 14 or later on Apple silicon.",
        code="no-packages-for-computer",
    )


def _not_writable(text: str) -> WorkerError | None:
    if re.search(r"Permission denied|Access is denied|Errno 13\b|WinError 5\b", text, re.IGNORECASE):
        return WorkerError(
            f"{python_environment.worker_folder()} cannot be written. Close what uses the worker and check the "
            "folder's permissions.",
            code="worker-folder-not-writable",
        )
    return None


def _host(text: str) -> str:
    """The computer whose address could not be fetched."""
    address = re.search(r"(?:Could not fetch URL|Failed to fetch:?|for url[: ]) ?[`(]*(https?://[^\s`)]+)", text)
    return _address(address[1]) if address else "the package index"


def _proxy(respected: dict[str, str]) -> str:
    """The proxy of pip's settings, or of the system."""
    proxies = urllib.request.getproxies()
    return _address(respected.get("proxy") or proxies.get("https") or proxies.get("http") or "that is set")


def _address(url: str) -> str:
    """Host and port of an address, without the password that it may hold."""
    try:
        parts = urlsplit(url.strip() if "//" in url else f"//{url.strip()}")
        return f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}" or parts.path
    except ValueError:
        return "that is set"


def _without_passwords(text: str) -> str:
    return re.sub(r"//[^/\s@]*@", "//****@", text)
