"""Real JupyterLab in a real browser: open a notebook, run all cells, use what appears, as a person would.

The pictures of the widgets that the committed notebooks show go to the folder $NBLIB_PICTURES, if it is set.
"""

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

import nbformat
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
SECONDS = 400  # that a notebook may take on a busy machine
FIELDS = "input, select, textarea"
ROOM = {"width": 1280, "height": 1700}
NARROW = {"width": 1000, "height": 1700}  # of a picture, which a page shows at 800 pixels
FAULTS = """root => {
  const controls = [...root.querySelectorAll('input, select, textarea, button')], faults = [];
  for (const part of root.querySelectorAll('label, button, h4, [role=alert]'))
    if (part.scrollWidth > part.clientWidth + 1 && part.clientWidth) faults.push(`cut: ${part.textContent}`);
  for (const part of controls) {
    if (!(part.labels?.length ? part.labels[0].textContent : part.textContent).trim()) faults.push('without a name');
    if (part.tabIndex < 0) faults.push(`out of the keyboard's reach: ${part.textContent}`);
  }
  const boxes = controls.map(part => part.getBoundingClientRect());
  const meet = (one, other, start, end) => one[end] > other[start] + 1 && other[end] > one[start] + 1;
  for (const [place, one] of boxes.entries()) for (const other of boxes.slice(place + 1))
    if (meet(one, other, 'left', 'right') && meet(one, other, 'top', 'bottom'))
      faults.push(`covered: ${controls[place].labels?.[0]?.textContent}`);
  if (root.scrollWidth > root.clientWidth + 1) faults.push(`${root.scrollWidth} pixels wide`);
  return faults;
}"""
SETTINGS = {  # of a user who has all cells on the page and wants no news
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
}


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
        place.mkdir(parents=True, exist_ok=True)
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
    page.set_default_timeout(200_000)
    page.goto(f"{lab[0]}lab/workspaces/{uuid.uuid4().hex}/tree/{name}.ipynb?token=secret")  # nothing else is open there
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.keyboard.press("Control+b")  # closes the side bar
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
    """`text` is a text or a pattern."""
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


def output(page, text):
    """The widget of the code cell whose source has this text."""
    return cell(page, text).locator(".jp-OutputArea-output").last


def depict(page, widget, name):
    """A widget's picture for the committed notebook, in few colours."""
    if folder := os.environ.get("NBLIB_PICTURES"):
        page.set_viewport_size(NARROW)
        taken = Image.open(io.BytesIO(widget.screenshot())).convert("RGB")
        taken.quantize(256, dither=Image.Dither.NONE).save(Path(folder) / f"widget_{name}.png", optimize=True)
        page.set_viewport_size(ROOM)


def choose_theme(page, name):
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    for label in ("Theme", f"JupyterLab {name}"):
        page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{label}$")).click()
    page.locator(f"body[data-jp-theme-name='JupyterLab {name}']").wait_for(state="attached")


# --- the tests ------------------------------------------------------------------------------------------------------


def test_start_here_draws_the_loss_while_it_trains_and_then_all_that_it_promises(browser, lab):
    from playwright.sync_api import expect

    page = opened(browser, lab, "00_start_here")
    training = cell(page, "training.train(planned, store)")
    picture = training.locator("img")
    picture.wait_for(timeout=1000 * SECONDS)
    assert "*" in training.locator(".jp-InputArea-prompt").inner_text(), "the curve came only after the training"
    training.get_by_text(re.compile(r"^\d+ %, about \d+:\d\d left$")).wait_for()
    first = picture.get_attribute("src")
    expect(picture).not_to_have_attribute("src", first, timeout=200_000)  # another picture in its place
    wait_until_done(page)
    assert picture.count() == 1
    answers = cell(page, "playground.answer(")
    for text in ("reference", "zero-shot", "icl-3", "rag-3", "lora"):
        assert answers.get_by_role("cell", name=text, exact=True).count() == 1
    assert answers.locator("del, ins").count() > 0
    cell(page, "plots.memory_by_kind").locator("img").scroll_into_view_if_needed()
    assert (lab[1] / "figures").is_dir()
    page.close()


def test_the_playground_answers_and_an_error_leaves_what_it_answered(played):
    shown = output(played, "playground.show(")
    assert menu(played, "intent").input_value() == "reverse the order of list `days`"  # the notebook's parameter
    for name, given, known in (("model", "tiny", "codellama-7b"), ("task", "conala-mini", "apps-mini")):
        field = menu(played, name)
        assert (field.input_value(), field.get_attribute("placeholder")) == ("", given)  # so a browser offers all
        assert shown.locator(f"datalist[id='{field.get_attribute('list')}'] option[value='{known}']").count() == 1
    menu(played, "example").select_option(index=1)
    played.wait_for_function("field => !field.value.startsWith('reverse')", arg=menu(played, "intent").element_handle())
    intent = menu(played, "intent").input_value()
    button(played, "Answer").click()
    wait_for_status(played, "Done.")
    for text in ("reference", "zero-shot", "icl-3", "rag-3", "lora"):
        assert shown.get_by_role("cell", name=text, exact=True).count() == 1
    assert shown.get_by_text("the exact prompt").count() == 4
    assert shown.get_by_text(f"tiny, conala-mini: {intent}").count() == 1
    depict(played, shown, "playground")

    answered = shown.locator("pre").all_inner_texts()
    menu(played, "model").fill("no-such-model")
    menu(played, "model").press("Enter")
    button(played, "Answer").click()
    error = shown.get_by_role("alert").filter(has_text="model must be one of")
    error.wait_for()
    red, green, blue, *_ = map(int, re.findall(r"\d+", error.evaluate("part => getComputedStyle(part).color")))
    assert red > 2 * max(green, blue)
    assert shown.locator("pre").all_inner_texts() == answered
    menu(played, "model").fill("")

    menu(played, "intent").fill("reverse the list `days`")
    menu(played, "decoding").select_option(label="5 beams")
    button(played, "Answer").click()
    shown.get_by_text("all answers").wait_for(timeout=1000 * SECONDS)
    shown.get_by_text("all answers").click()
    assert shown.get_by_role("cell", name="5", exact=True).count() == 4  # the fifth answer of each method
    assert shown.get_by_role("alert").count() == 0
    menu(played, "decoding").select_option(label="greedy, as it streams")


def test_a_training_says_how_long_and_is_cancelled_while_the_page_stays_alive(played):
    menu(played, "intent").fill("sort `names`")
    menu(played, "method 1").select_option(label="dora")  # no run has left an adapter of it
    button(played, "Answer").click()
    wait_for_status(played, re.compile(r"training briefly.* \d+ %, about \d+:\d\d left"))
    assert button(played, "Answer").is_disabled()
    menu(played, "intent").fill("meanwhile another question")
    button(played, "Cancel").click()
    wait_for_status(played, "Cancelled.")
    assert button(played, "Answer").is_enabled()
    assert menu(played, "intent").input_value() == "meanwhile another question"
    menu(played, "method 1").select_option(label="zero-shot")
    button(played, "Answer").click()
    wait_for_status(played, "Done.")  # nothing half trained was left behind


def test_the_explorer_filters_compares_downloads_and_its_points_can_be_chosen(played):
    explorer = output(played, "explorer.show(")
    picture = explorer.locator(".nblib-points svg")
    picture.locator("text", has_text="Highest EM@1").wait_for()
    depict(played, explorer, "explorer")
    menu(explorer, "method").select_option(label="rag")
    for name, label, title in (
        ("x", "training (s)", "Highest EM@1 for its training"),
        ("x", "prompt tokens per query", "Highest EM@1 for its prompt tokens"),
        ("y", "CodeBLEU (%)", "Highest CodeBLEU for its prompt tokens"),
    ):
        menu(explorer, name).select_option(label=label)
        picture.locator("text", has_text=title).wait_for()
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
    assert picture.locator('[aria-pressed="true"]').get_attribute("id") == f"run:{entered}"
    ending = listed.locator("option", has_text=clicked[-4:])  # each line ends with that of its run
    listed.select_option(label=ending.text_content())
    picture.locator(f'[id="run:{clicked}"][aria-pressed="true"]').wait_for()
    menu(explorer, "compare").select_option(label=listed.locator("option", has_text=entered[-4:]).text_content())
    explorer.get_by_text("common examples").wait_for()
    with played.expect_download() as download:
        button(explorer, "CSV").click()
    assert download.value.suggested_filename == "explorer.csv"
    with open(download.value.path(), newline="") as file:
        assert len(list(csv.reader(file))) == 1 + len(points)
    explorer.get_by_text("Your browser has explorer.csv.").wait_for()

    menu(explorer, "precision").select_option(label="int8")
    explorer.get_by_text("No run passes all filters: set one of them to all.").wait_for()
    assert picture.count() == 0
    for name in ("method", "precision"):
        menu(explorer, name).select_option(label="all")
    picture.locator("text", has_text="points, filled: the Pareto front").wait_for()


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize("width", [800, 1200])
def test_nothing_is_cut_covered_without_a_name_or_out_of_the_keyboards_reach(played, theme, width):
    choose_theme(played, theme)
    played.set_viewport_size({"width": width, "height": 1400})
    for call in ("playground.show(", "explorer.show("):
        widget = output(played, call)
        assert widget.locator("select").count() > 5
        assert widget.evaluate(FAULTS) == []
        widget.scroll_into_view_if_needed()
    played.set_viewport_size(ROOM)
