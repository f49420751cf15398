"""Files of the Hub at one commit, in the local cache, its errors in one sentence. Reads no rows, runs no scripts."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WITH_BAR = 50_000_000  # bytes from which a download shows a bar
ANSWER_SECONDS = 10  # that the Hub may take to say what a revision is
UNREACHED = ("ConnectError", "ConnectTimeout", "ProxyError", "ReadTimeout")  # of the HTTP library
COMMIT = re.compile("[0-9a-f]{40}")


def fetch(repository: str, patterns: list[str], revision: str, *, download_bytes: int, instead: str) -> Path:
    """The folder of a dataset's files at the commit behind `revision`; the folder's name is the commit.

    `patterns` are the files' names, * for parts that are not known; `download_bytes` says about how long it takes.
    `instead` says what a user may do where the Hub fails.
    Raises ConnectionError or ValueError with one sentence.
    """
    with explained(f"dataset {repository}", revision, instead):
        folder = snapshot(repository, "dataset", patterns, revision, bar_shown=download_bytes >= WITH_BAR)
    for pattern in patterns:
        if not any(folder.glob(pattern)):
            raise ValueError(f"dataset {repository} has no file {pattern} at revision {revision}: {instead}")
    return folder


def snapshot(repository: str, kind: str, patterns: list[str], revision: str, *, bar_shown: bool = False) -> Path:
    """The folder in the cache with the files at the commit behind `revision`, fetched where they are not there.

    A commit that is in the cache needs no network; for a branch or tag the cache serves where the Hub is out of reach.
    """
    from huggingface_hub import HfApi, snapshot_download  # slow to import, and only needed here
    from huggingface_hub.errors import LocalEntryNotFoundError

    def place(*, cached: bool) -> Path:
        return Path(
            snapshot_download(
                repository,
                repo_type=kind,
                revision=revision,
                allow_patterns=patterns,
                local_files_only=cached,
                tqdm_class=bar(shown=bar_shown),
            )
        )

    if COMMIT.fullmatch(revision):
        with suppress(LocalEntryNotFoundError):
            return place(cached=True)
    try:
        # Asked first because the list of files would be asked for six times in 20 seconds where there is no Hub.
        HfApi().repo_info(repository, repo_type=kind, revision=revision, timeout=ANSWER_SECONDS)
    except Exception as absent:
        with suppress(LocalEntryNotFoundError):
            return place(cached=True)
        raise absent
    return place(cached=False)


def bar(*, shown: bool) -> type:
    """Hugging Face's progress bar, which a notebook can keep: few updates, or none."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "mininterval": 2} | ({} if shown else {"disable": True}))

    return Bar


@contextmanager
def explained(what: str, revision: str | None, instead: str) -> Iterator[None]:
    """Turns what the Hub's client raises, also inside of an error of transformers, into one sentence."""
    try:
        yield
    except Exception as error:  # the Hub's client, its HTTP library and transformers each raise their own kinds
        explanation = _explanation(error, what, revision, instead)
        if explanation is None:
            raise
        raise explanation from None


def _explanation(error: Exception, what: str, revision: str | None, instead: str) -> Exception | None:
    """The error to raise in its place; None for one that the Hub has nothing to do with."""
    from huggingface_hub import errors

    chain = list(_chain(error))
    statuses = {getattr(getattr(each, "response", None), "status_code", None) for each in chain}

    def found(*kinds: type) -> bool:
        return any(isinstance(each, kinds) for each in chain)

    if found(errors.GatedRepoError) or 403 in statuses:
        return ConnectionError(f"the Hub refuses {what}: accept its licence on its page and run `hf auth login`")
    if found(errors.RepositoryNotFoundError):
        return ValueError(f"the Hub has no {what}, or it is private: check the name, run `hf auth login`, or {instead}")
    if found(errors.RevisionNotFoundError):
        return ValueError(f"the Hub has no revision {revision!r} of {what}; give a branch, a tag or a commit")
    if 401 in statuses:
        return ConnectionError(f"the Hub refuses {what}: your token is not valid, run `hf auth login`")
    if found(errors.RemoteEntryNotFoundError) or "does not appear to have" in str(error):
        return ValueError(f"{what} lacks a file on the Hub: {str(error).splitlines()[0]}")
    if found(errors.OfflineModeIsEnabled) or (found(errors.LocalEntryNotFoundError) and _offline()):
        return ConnectionError(_missing(what, " (HF_HUB_OFFLINE is set)", instead))
    if found(errors.LocalEntryNotFoundError) or {type(each).__name__ for each in chain} & set(UNREACHED):
        return ConnectionError(_missing(what, "", instead))
    if found(errors.HfHubHTTPError) or any(type(each).__module__.startswith("httpx") for each in chain) or _cut(chain):
        return ConnectionError(
            f"the download of {what} broke off ({_said(chain)}): try again, complete files are kept, or {instead}"
        )
    return None


def _missing(what: str, offline: str, instead: str) -> str:
    return (
        f"{what} is neither in the local cache nor could it be fetched from the Hub{offline}: "
        f"check the name and the network, or {instead}"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that it came from."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _cut(chain: list[BaseException]) -> bool:
    return any("Consistency check failed" in str(each) for each in chain)


def _said(chain: list[BaseException]) -> str:
    """The oldest error's kind and first line."""
    return f"{type(chain[-1]).__name__}: {str(chain[-1]).strip().splitlines()[0]}" if str(chain[-1]).strip() else ""


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
