"""Real JupyterLab in a real browser: open a notebook, run all cells, use what appears, as a person would.

Screenshots go to the folder $NBLIB_SCREENSHOTS, if it is set.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.slow
SECONDS = 400  # that a notebook may take on a busy machine
FIELDS = "input, select, textarea"
ROOM = {"width": 1280, "height": 1700}
SETTINGS = {  # of a user who has all cells on the page and wants no news
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
}


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


@pytest.fixture(scope="module")
def lab(root, tmp_path_factory, browser):
    """JupyterLab on copies of the notebooks whose results go to a temporary folder; gives its address and folder."""
    folder = tmp_path_factory.mktemp("lab")
    copied = _copies(root, folder / "work")
    _settings(folder / "settings")
    homes = {f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "RUNTIME")}
    homes |= {f"JUPYTERLAB_{kind}_DIR": str(folder / kind.lower()) for kind in ("SETTINGS", "WORKSPACES")}
    homes["IPYTHONDIR"] = str(folder / "ipython")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port=0"]
    command += ["--IdentityProvider.token=secret", f"--ServerApp.root_dir={copied}", "--LabApp.news_url=None"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | homes)
        try:
            yield _address(folder / "runtime", server, folder / "log"), copied
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture(scope="module")
def played(browser, lab):
    """The playground's notebook, run as a whole; each test goes on with its widgets."""
    page = opened(browser, lab, "playground")
    wait_until_done(page)
    yield page
    photograph(page, "playground_end")
    page.close()


def _copies(root: Path, target: Path) -> Path:
    """The notebooks, their parameters set so that nothing is written into the clone, and without outputs."""
    target.mkdir()
    for path in (root / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, 4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = []
            if "parameters" in cell.metadata.get("tags", []):
                for name in ("results", "figures"):
                    cell.source = cell.source.replace(f'{name}_dir = ""', f"{name}_dir = {str(target / name)!r}")
        nbformat.write(notebook, target / path.name)
    return target


def _settings(folder: Path) -> None:
    for name, values in SETTINGS.items():
        extension, _, plugin = name.partition("/")
        place = folder / "@jupyterlab" / extension
        place.mkdir(parents=True)
        (place / f"{plugin}.jupyterlab-settings").write_text(json.dumps(values))


def _address(runtime: Path, server: subprocess.Popen, log: Path) -> str:
    """Where the server listens, from the file that it writes when it does."""
    for _ in range(600):
        for path in runtime.glob("jpserver-*.json"):
            if text := path.read_text():
                return json.loads(text)["url"]
        assert server.poll() is None, log.read_text()[-2000:]
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start: {log.read_text()[-2000:]}")


# --- what a person does ---------------------------------------------------------------------------------------------


def opened(browser, lab, name):
    """The notebook in JupyterLab, all of its cells running."""
    page = browser.new_page(viewport=ROOM)
    page.set_default_timeout(60_000)
    page.goto(f"{lab[0]}lab/workspaces/{uuid.uuid4().hex}/tree/{name}.ipynb?token=secret")  # nothing else is open there
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.locator(".jp-InputArea-prompt", has_text="*").first.wait_for()
    return page


def menu(page, name):
    """A dropdown or text field of a widget by what stands before it; of several, the first."""
    return page.locator(".widget-inline-hbox", has_text=re.compile(f"^{name}")).first.locator(FIELDS)


def button(page, name):
    return page.locator(".jupyter-button").filter(has_text=name)


def wait_for_status(page, text):
    page.locator(".widget-html-content").filter(has_text=text).first.wait_for(timeout=1000 * SECONDS)


def cell(page, text):
    """The code cell whose source has this text."""
    return page.locator(".jp-CodeCell").filter(has=page.locator(".jp-InputArea", has_text=text))


def wait_until_done(page):
    """Until the last code cell has run; an error on the way fails at once."""
    page.wait_for_function(
        """() => {
            const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')];
            const failed = document.querySelector('[data-mime-type="application/vnd.jupyter.error"]');
            return failed || (prompts.length && prompts.every(each => /\\\\d/.test(each.textContent)));
        }""".replace("\\\\", "\\"),
        timeout=1000 * SECONDS,
    )
    errors = page.locator('[data-mime-type="application/vnd.jupyter.error"]')
    assert errors.count() == 0, errors.first.inner_text()[-1500:]


def photograph(page, name):
    if folder := os.environ.get("NBLIB_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


# --- the tests ------------------------------------------------------------------------------------------------------


def test_start_here_draws_the_loss_while_it_trains_and_then_all_that_it_promises(browser, lab):
    from playwright.sync_api import expect

    page = opened(browser, lab, "00_start_here")
    training = cell(page, "training.train(planned, store)")
    picture = training.locator("img")
    picture.wait_for(timeout=1000 * SECONDS)
    assert "*" in training.locator(".jp-InputArea-prompt").inner_text(), "the curve came only after the training"
    first = picture.get_attribute("src")
    expect(picture).not_to_have_attribute("src", first, timeout=60_000)  # another picture in its place
    photograph(page, "start_here_while_training")
    wait_until_done(page)
    assert picture.count() == 1
    answers = cell(page, "playground.answer(")
    for text in ("reference", "zero-shot", "icl-3", "rag-3", "lora"):
        assert answers.get_by_role("cell", name=text, exact=True).count() == 1
    assert answers.locator("del, ins").count() > 0
    cell(page, "plots.memory_by_kind").locator("img").scroll_into_view_if_needed()
    photograph(page, "start_here_memory")
    assert (lab[1] / "figures").is_dir()
    page.close()


def test_the_playground_answers_and_refuses_as_a_person_asks(played):
    menu(played, "example").select_option(index=1)
    played.wait_for_function("field => field.value.length > 5", arg=menu(played, "intent").element_handle())
    button(played, "Answer").click()
    wait_for_status(played, "Done.")
    shown = cell(played, "playground.show(").locator(".jp-OutputArea-output")
    for text in ("reference", "zero-shot", "icl-3", "rag-3", "lora"):
        assert shown.get_by_role("cell", name=text, exact=True).count() == 1
    assert shown.get_by_text("the exact prompt").count() == 4
    shown.scroll_into_view_if_needed()
    photograph(played, "playground_answered")

    menu(played, "intent").fill("reverse the list `days`")
    menu(played, "decoding").select_option(label="5 beams")
    button(played, "Answer").click()
    shown.get_by_text("all answers").wait_for(timeout=1000 * SECONDS)
    shown.get_by_text("all answers").click()
    assert shown.get_by_role("cell", name="5", exact=True).count() == 4  # the fifth answer of each method
    photograph(played, "playground_own_question")
    menu(played, "decoding").select_option(label="greedy, as it streams")

    model = menu(played, "model").input_value()
    for name, status in (("no-such-model", "model must be one of"), (model, "Done.")):
        menu(played, "model").fill(name)
        menu(played, "model").press("Enter")
        button(played, "Answer").click()
        wait_for_status(played, status)


def test_a_training_is_cancelled_while_the_page_stays_alive(played):
    menu(played, "intent").fill("sort `names`")
    menu(played, "method 1").select_option(label="dora")  # no run has left an adapter of it
    button(played, "Answer").click()
    wait_for_status(played, "training briefly")
    assert button(played, "Answer").is_disabled()
    menu(played, "intent").fill("meanwhile another question")
    photograph(played, "playground_training")
    button(played, "Cancel").click()
    wait_for_status(played, "Cancelled.")
    assert button(played, "Answer").is_enabled()
    assert menu(played, "intent").input_value() == "meanwhile another question"
    menu(played, "method 1").select_option(label="zero-shot")
    button(played, "Answer").click()
    wait_for_status(played, "Done.")  # nothing half trained was left behind


def test_the_explorer_filters_compares_exports_and_its_points_can_be_chosen(played, lab):
    explorer = cell(played, "explorer.show(").locator(".jp-OutputArea-output")
    picture = explorer.locator(".nblib-points svg")
    picture.locator("text", has_text="EM@1 against").wait_for()
    menu(explorer, "method").select_option(label="rag")
    menu(explorer, "across").select_option(label="prompt tokens a query")
    menu(explorer, "up").select_option(label="CodeBLEU (%)")
    picture.locator("text", has_text="CodeBLEU against").wait_for()
    listed = explorer.locator("select[size], select[multiple]").first
    points = [point.get_attribute("id").removeprefix("run:") for point in picture.locator('[id^="run:"]').all()]
    assert len(points) == listed.locator("option").count() > 3
    clicked, entered = points[1:3]
    picture.locator(f'[id="run:{clicked}"]').click()
    explorer.get_by_text(f"settings, scores and costs of {clicked}").wait_for()
    assert clicked[-4:] in listed.evaluate("list => list.selectedOptions[0].textContent")
    picture.locator(f'[id="run:{entered}"]').focus()
    played.keyboard.press("Enter")
    explorer.get_by_text(f"settings, scores and costs of {entered}").wait_for()
    picture.scroll_into_view_if_needed()
    photograph(played, "explorer_point_chosen")
    assert picture.locator('[aria-pressed="true"]').get_attribute("id") == f"run:{entered}"
    ending = listed.locator("option", has_text=clicked[-4:])  # each line ends with that of its run
    listed.select_option(label=ending.text_content())
    picture.locator(f'[id="run:{clicked}"][aria-pressed="true"]').wait_for()
    menu(explorer, "beside").select_option(label=listed.locator("option", has_text=entered[-4:]).text_content())
    explorer.get_by_text("common examples").wait_for()
    photograph(played, "explorer_two_runs")
    button(explorer, "CSV").click()
    explorer.get_by_text("wrote explorer.csv").wait_for()
    assert list((lab[1] / "results").rglob("exports/explorer.csv"))
