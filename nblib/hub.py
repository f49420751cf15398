"""Files of the Hub at one commit, in the local cache, its errors in one sentence."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WITH_BAR = 50_000_000  # bytes from which a download shows a bar
ANSWER_SECONDS = 10  # that the Hub may take to say what a revision is
UNREACHED = {"ConnectError", "ConnectTimeout", "ProxyError", "ReadTimeout"}  # of the HTTP library
COMMIT = re.compile("[0-9a-f]{40}")


def fetch(repository: str, patterns: list[str], revision: str, *, download_bytes: int = 0, instead: str) -> Path:
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

    def download(*, cached: bool) -> Path:
        place = snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            allow_patterns=patterns,
            local_files_only=cached,
            tqdm_class=bar(shown=bar_shown),
        )
        return Path(place)

    if COMMIT.fullmatch(revision):
        with suppress(LocalEntryNotFoundError):
            return download(cached=True)
    try:
        # Asked first because the list of files would be asked for six times in 20 seconds where there is no Hub.
        HfApi().repo_info(repository, repo_type=kind, revision=revision, timeout=ANSWER_SECONDS)
    except Exception as absent:
        with suppress(LocalEntryNotFoundError):
            return download(cached=True)
        raise absent
    return download(cached=False)


def cached(repository: str, pattern: str, revision: str) -> bool:
    """Whether the cache has that file of a dataset; the Hub is not asked."""
    from huggingface_hub import errors, snapshot_download

    with suppress(errors.LocalEntryNotFoundError):
        place = snapshot_download(repository, repo_type="dataset", revision=revision, local_files_only=True)
        return any(Path(place).glob(pattern))
    return False


def bar(*, shown: bool) -> type:
    """Hugging Face's progress bar, which a notebook can keep: few updates, or none."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "mininterval": 2} | ({} if shown else {"disable": True}))

    return Bar


def cache_folder() -> Path:
    """Where nblib keeps what it made of a user's files: NBLIB_CACHE, else `nblib` in the user's cache."""
    if own := os.environ.get("NBLIB_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nblib"


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
    from huggingface_hub import constants, errors

    chain = list(_chain(error))
    statuses = {getattr(getattr(link, "response", None), "status_code", None) for link in chain}

    def found(*kinds: type) -> bool:
        return any(isinstance(link, kinds) for link in chain)

    gated, unknown = found(errors.GatedRepoError), found(errors.RepositoryNotFoundError)
    if gated or (statuses & {401, 403} and not unknown):
        return ConnectionError(f"the Hub refuses {what}: accept its licence on its page and run `hf auth login`")
    if unknown:
        return ValueError(f"the Hub has no {what}, or it is private: check the name, run `hf auth login`, or {instead}")
    if found(errors.RevisionNotFoundError):
        return ValueError(f"the Hub has no revision {revision!r} of {what}; give a branch, a tag or a commit")
    if found(errors.RemoteEntryNotFoundError) or "does not appear to have" in str(error):
        return ValueError(f"{what} lacks a file on the Hub: {str(error).splitlines()[0]}")
    absent = found(errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError)
    if absent or {type(link).__name__ for link in chain} & UNREACHED:
        offline = " (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
        return ConnectionError(
            f"{what} is neither in the local cache nor could it be fetched from the Hub{offline}: "
            f"check the name and the network, or {instead}"
        )
    http = found(errors.HfHubHTTPError) or any(type(link).__module__.startswith("httpx") for link in chain)
    if http or any("Consistency check failed" in str(link) for link in chain):
        cause = f"{type(chain[-1]).__name__}: " + str(chain[-1]).strip().partition("\n")[0]
        return ConnectionError(
            f"the download of {what} broke off ({cause}): try again, complete files are kept, or {instead}"
        )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that it came from."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__
