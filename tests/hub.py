"""A small Hub on loopback: the part of its HTTP API that loading asks for. Keeps nothing on disk."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow
import pyarrow.parquet

from nblib import tasks

MAIN = "main"


@dataclass
class Repository:
    """Files by commit, and the names that stand for a commit."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # branches and tags
    gated: int | None = None  # the status that its files are refused with
    cut: set[str] = field(default_factory=set)  # files that break off half way


class Hub:
    """Serves repositories by kind ("datasets", "models") and id until it is closed; `asked` holds every request."""

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def add(
        self, kind: str, id: str, files: dict[str, bytes], *, names: tuple[str, ...] = (MAIN,), sha: str | None = None
    ) -> str:
        """Adds a commit with these files to a repository, new or not, and moves the names to it; returns it."""
        hashed = json.dumps(sorted((name, _etag(data)) for name, data in files.items())).encode()
        sha = sha or hashlib.sha1(hashed).hexdigest()
        repository = self.repositories.setdefault((kind, id), Repository())
        repository.commits[sha] = files
        repository.names |= dict.fromkeys(names, sha)
        return sha

    def add_task(self, name: str, files: dict[str, bytes]) -> str:
        """Adds the commit that a task is pinned to; returns it."""
        task = tasks.get(name)
        pinned = None if task.revision == MAIN else task.revision
        return self.add("datasets", str(task.hub), files, sha=pinned)

    def close(self) -> None:
        """Nobody listens from here on."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self):
        self.hub.requests.append(f"{self.command} {self.path}")
        path = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        api = path[0] == "api" and path.pop(0)
        kind = path.pop(0) if path[0] in ("datasets", "models") else "models"
        id, called, revision = "/".join(path[:2]), path[2:3], path[3] if len(path) > 3 else MAIN
        repository = self.hub.repositories.get((kind, id))
        if not api and called != ["resolve"]:
            self._refuse(404)
        elif repository is None:
            self._refuse(401, "RepoNotFound")  # what the Hub says to people without a token
        elif (sha := repository.names.get(revision, revision)) not in repository.commits:
            self._refuse(404, "RevisionNotFound")
        elif api:
            self._send(json.dumps(_described(id, sha, repository.commits[sha], called)).encode(), {})
        else:
            self._file(repository, sha, "/".join(path[4:]))

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        pass

    def _file(self, repository: Repository, sha: str, name: str) -> None:
        files, headers = repository.commits[sha], {"X-Repo-Commit": sha}
        if repository.gated:
            self._refuse(repository.gated, "GatedRepo")
        elif name not in files:
            self._refuse(404, "EntryNotFound", headers)
        else:
            headers |= {"ETag": f'"{_etag(files[name])}"', "Accept-Ranges": "bytes"}
            self._send(files[name], headers, cut=name in repository.cut)

    def _send(self, data: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        headers |= {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        self._begin(206 if start else 200, headers | {"Content-Length": str(len(data) - start)})
        if self.command != "HEAD":
            self.wfile.write(data[start : len(data) // 2 if cut else len(data)])
            self.close_connection = cut

    def _refuse(self, status: int, code: str = "", headers: dict[str, str] | None = None) -> None:
        self._begin(status, {"X-Error-Code": code, "Content-Length": "0"} | (headers or {}))

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _described(id: str, sha: str, files: dict[str, bytes], called: list[str]) -> list | dict:
    """A repository's list of files, or what is said of it."""
    if called == ["tree"]:
        return [{"type": "file", "path": name, "size": len(data), "oid": _etag(data)} for name, data in files.items()]
    return {"id": id, "sha": sha, "siblings": [{"rfilename": name} for name in files], "tags": [], "private": False}


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


# --- the other side -------------------------------------------------------------------------------------------------


def lines(*rows: dict) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(*rows: dict) -> bytes:
    """Rows as a parquet file."""
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), sink)
    return sink.getvalue().to_pybytes()


def folder_files(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    """A folder's files by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob(pattern))}


def ask(endpoint: str, home: Path, *questions: str, offline: bool = False, before: str = "") -> list:
    """What expressions give in a fresh process that uses this Hub and this cache; `before` runs first.

    They may name `tasks`, `models`, `about(data)` and `total(loaded)`. An error is the answer `[kind, sentence]`.
    The libraries read where the Hub is when they are imported, hence the process.
    """
    code = _PROGRAM.format(
        before=before, questions=list(questions), models=any("models." in question for question in questions)
    )
    done = _process(code, endpoint, home, offline)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def screen(endpoint: str, home: Path, statement: str) -> str:
    """What a user sees of a statement: progress, warnings, an error that nobody catches."""
    return _process(f"from nblib import tasks\n{statement}", endpoint, home, False).stderr


def _process(code: str, endpoint: str, home: Path, offline: bool) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


_PROGRAM = """
import json, time
{before}
from nblib import tasks
if {models}:
    from nblib import models


def about(data):
    return [len(data.train), len(data.validation), len(data.test), data.revision]


def total(loaded):
    return sum(each.detach().double().abs().sum().item() for each in loaded[0].parameters())


answers = []
for question in {questions!r}:
    try:
        answers.append(eval(question))
    except (ConnectionError, ValueError, OSError) as error:
        answers.append([type(error).__name__, str(error)])
print()
print(json.dumps(answers))
"""
