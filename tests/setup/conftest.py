"""A package index on this machine with tiny wheels, and a user who has nothing yet."""

import base64
import os
import shutil
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.wheels import make_wheel
from wham_blender.addon.worker import installer, location, python_environment, pytorch

BASE = Path(sys.executable)
# Variables that change how pip connects.
NETWORK = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle", "netrc"}


class Index:
    """A package index like PyPI's (PEP 503) on this machine, which notes what is fetched from it; also as a proxy."""

    def __init__(self, folder, certificate=None):
        """``certificate``: files of a certificate and its key, with which connections are encrypted."""
        self.folder = folder
        self.account = ""  # "name:password" that it asks for
        self.fetched: list[str] = []
        self.hangs = ""  # on the wheel whose name begins so
        self.missing = False  # every address
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                index.answer(self)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http{'s' if certificate else ''}://127.0.0.1:{self.server.server_port}"

    def add(self, name, version="1.0", place="simple", size=1000):
        """Put a wheel there; its line in a lock."""
        wheel = self.folder / place / name / f"{name}-{version}-py3-none-any.whl"
        wheel.parent.mkdir(parents=True, exist_ok=True)
        return make_wheel(wheel, size)

    def answer(self, handler):
        path = self.folder / urlsplit(handler.path).path.strip("/").replace("%2B", "+")
        given = handler.headers.get("Authorization", "").removeprefix("Basic ")
        if self.account and base64.b64decode(given).decode() != self.account:
            handler.send_error(401)
            return
        if self.missing or not path.exists():
            handler.send_error(404)
            return
        body = b"".join(f'<a href="{wheel.name}">{wheel.name}</a>'.encode() for wheel in path.glob("*.whl"))
        if path.is_file():
            self.fetched.append(path.name.split("-")[0])
            body = path.read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/octet-stream" if path.is_file() else "text/html")
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Cache-Control", "max-age=365000000, immutable, public" if path.is_file() else "no-cache")
        handler.end_headers()
        if self.hangs and path.is_file() and path.name.startswith(self.hangs):
            handler.wfile.write(body[: len(body) // 2])
            handler.wfile.flush()
            time.sleep(60)
        handler.wfile.write(body)


@pytest.fixture
def index(tmp_path, monkeypatch):
    served = Index(tmp_path / "index")
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_")) or name.lower() in NETWORK]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{served.address}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    # Else pip keeps nothing that came without encryption.
    monkeypatch.setenv("PIP_TRUSTED_HOST", served.address.removeprefix("http://"))
    monkeypatch.setattr(pytorch, "INDEX", f"{served.address}/whl/")
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The data folder of a user who has nothing yet: no worker, no card, no uv."""
    monkeypatch.delenv("WHAM_WORKER_PYTHON", raising=False)
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setattr(pytorch, "cards", list)
    monkeypatch.setattr(installer.shutil, "which", lambda name: None)
    return location.default_folder()


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """An environment without packages; making one takes seconds."""
    folder = tmp_path_factory.mktemp("environment") / "worker"
    installer._make_environment(BASE, folder, python_environment.probe(BASE))
    return folder


@pytest.fixture
def packages(tmp_path, monkeypatch, environment):
    """Replaces the worker's lists of packages; without an argument the build is the one that PyPI has."""
    monkeypatch.setattr(python_environment, "PIPELINE", tmp_path / "lists")
    (tmp_path / "lists").mkdir()
    make = installer._make_environment

    def copy(base, folder, found):
        if base != BASE or folder.exists():
            make(base, folder, found)
        else:
            shutil.copytree(environment, folder, symlinks=True)

    monkeypatch.setattr(installer, "_make_environment", copy)
    (tmp_path / "lists/download_sizes.json").write_text("{}", "utf-8")
    (tmp_path / "lists/full_packages.txt").write_text("many\nmore\n", "utf-8")
    clear_caches()

    def write(*entries, build="pypi"):
        (tmp_path / "lists/requirements.txt").write_text("# a lock\n" + "".join(entries), "utf-8")
        monkeypatch.setattr(pytorch, "choose", lambda *_: pytorch.Build(build, "as the test wants"))
        clear_caches()

    yield write
    clear_caches()


CACHED = (python_environment.fingerprint, python_environment.download_sizes)


def clear_caches():
    for cached in CACHED:
        cached.cache_clear()
