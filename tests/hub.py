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

    def commit(self, files: dict[str, bytes], *, names: tuple[str, ...] = (MAIN,), sha: str | None = None) -> str:
        """Adds a commit with these files and moves the names to it."""
        sha = (
            sha
            or hashlib.sha1(
                json.dumps(sorted((name, _etag(data)) for name, data in files.items())).encode()
            ).hexdigest()
        )
        self.commits[sha] = files
        self.names |= dict.fromkeys(names, sha)
        return sha


class Hub:
    """Serves repositories by kind ("datasets", "models") and id until it is closed; `asked` holds every request."""

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def add(self, kind: str, id: str, files: dict[str, bytes], **settings) -> str:
        """Adds a commit to a repository, new or not; returns it."""
        return self.repositories.setdefault((kind, id), Repository()).commit(files, **settings)

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

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.asked.append(f"{self.command} {self.path}")
                _answer(hub, self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        return Handler


def _answer(hub: Hub, request: BaseHTTPRequestHandler) -> None:
    path = [unquote(part) for part in urlsplit(request.path).path.strip("/").split("/")]
    if path[0] == "api":
        _api(hub, request, path[1], "/".join(path[2:4]), path[4:])
        return
    kind = path.pop(0) if path[0] == "datasets" else "models"
    if len(path) < 5 or path[2] != "resolve":
        _refuse(request, 404)
        return
    _file(hub, request, kind, "/".join(path[:2]), path[3], "/".join(path[4:]))


def _api(hub: Hub, request: BaseHTTPRequestHandler, kind: str, id: str, rest: list[str]) -> None:
    """Repository info, with the commit of a revision, and its list of files."""
    if not (found := _commit(hub, request, kind, id, rest[1] if len(rest) > 1 else MAIN)):
        return
    sha, files = found
    if rest[:1] == ["tree"]:
        listed = [{"type": "file", "path": name, "size": len(data), "oid": _etag(data)} for name, data in files.items()]
        _send(request, json.dumps(listed).encode(), {})
        return
    info = {"id": id, "sha": sha, "siblings": [{"rfilename": name} for name in files], "tags": [], "private": False}
    _send(request, json.dumps(info).encode(), {})


def _file(hub: Hub, request: BaseHTTPRequestHandler, kind: str, id: str, revision: str, name: str) -> None:
    if not (found := _commit(hub, request, kind, id, revision)):
        return
    sha, files = found
    repository = hub.repositories[kind, id]
    if repository.gated:
        _refuse(request, repository.gated, "GatedRepo")
    elif name not in files:
        _refuse(request, 404, "EntryNotFound", {"X-Repo-Commit": sha})
    else:
        headers = {"X-Repo-Commit": sha, "ETag": f'"{_etag(files[name])}"', "Accept-Ranges": "bytes"}
        _send(request, files[name], headers, cut=name in repository.cut)


def _commit(hub: Hub, request: BaseHTTPRequestHandler, kind: str, id: str, revision: str):
    """The commit of a revision and its files; None where the request was refused."""
    repository = hub.repositories.get((kind, id))
    if repository is None:
        _refuse(request, 401, "RepoNotFound")  # what the Hub says to people without a token
        return None
    sha = repository.names.get(revision, revision)
    if sha not in repository.commits:
        _refuse(request, 404, "RevisionNotFound")
        return None
    return sha, repository.commits[sha]


def _send(request: BaseHTTPRequestHandler, data: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
    start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
    request.send_response(206 if start else 200)
    for name, value in headers.items():
        request.send_header(name, value)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    request.send_header("Content-Length", str(len(data) - start))
    request.end_headers()
    if request.command == "HEAD":
        return
    if cut:
        request.wfile.write(data[start : len(data) // 2])
        request.close_connection = True
        return
    request.wfile.write(data[start:])


def _refuse(
    request: BaseHTTPRequestHandler, status: int, code: str = "", headers: dict[str, str] | None = None
) -> None:
    request.send_response(status)
    for name, value in {**({"X-Error-Code": code} if code else {}), **(headers or {})}.items():
        request.send_header(name, value)
    request.send_header("Content-Length", "0")
    request.end_headers()


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
        before=before, questions=list(questions), models=any("models." in each for each in questions)
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
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, env=environment
    )


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
