"""What every test stands on: no network, no caches of the user's, no screen."""

import gc
import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

# Set before any test imports a library that reads these, and inherited by the processes that tests start.
_HOME = tempfile.mkdtemp(prefix="nblib-tests-")
os.environ |= {
    "HF_HOME": f"{_HOME}/huggingface",
    "HF_HUB_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "IPYTHONDIR": f"{_HOME}/ipython",
    "JUPYTER_PLATFORM_DIRS": "1",
    "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": "1",  # tests run side by side, and one thread rounds the same everywhere
    "TOKENIZERS_PARALLELISM": "false",
}

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = Path(os.environ.get("NBLIB_REAL_DATA", ROOT.parent / "shared" / "datasets"))


def pytest_collection_finish():
    """Libraries stay: a collection, of which a run makes several, need not look through their million objects."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    shutil.rmtree(_HOME, ignore_errors=True)


class NetworkUsedError(Exception):
    """Not an OSError, which libraries catch to try again quietly."""


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """Sockets of this process reach this machine only; kernels and other processes do without HF's Hub by setting."""

    def allowed(address) -> bool:
        host = address[0] if isinstance(address, tuple) else address  # a text: a socket of the file system
        return not isinstance(address, tuple) or host in ("localhost", "::1", "") or str(host).startswith("127.")

    def guarded(connect):
        def call(self, address):
            if not allowed(address):
                raise NetworkUsedError(f"a test tried to connect to {address}; tests do without a network")
            return connect(self, address)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The clone."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder with the real corpora, one sub-folder each; the test is skipped where nobody has put them."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real corpora in {REAL_DATA}; NBLIB_REAL_DATA may name their folder")
    return REAL_DATA


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; where there is none, or no client for it, the tests are skipped."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright: pip install nblib[browser]")
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs the browser Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        # Without its own sandbox, which needs a user other than root; only our own pages are opened.
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()
