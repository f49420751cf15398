"""The README keeps its word: its lines, files, links and parameters exist."""

import ast
import itertools
import re
import shlex
import subprocess
import sys

import nbformat
import pytest

MAIN_JOB = "pip install -r requirements.txt && papermill notebooks/rq1_peft_vs_icl.ipynb out.ipynb"
TESTS = "pip install -r requirements.txt && pytest"
OF_GITHUB = "../../actions/"  # pages of the repository on GitHub, relative to its README
WRITTEN_BY_USERS = ("out.ipynb", "results/")  # named in the README, in no clone
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/running.md", "docs/results.md", "docs/speed.md", "docs/memory.md")


@pytest.fixture(scope="module")
def readme(root):
    return (root / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("mark", "line"), [("main job", MAIN_JOB), ("tests", TESTS)])
def test_each_of_the_two_lines_appears_once(readme, mark, line):
    assert re.findall(rf"<!-- {mark} -->\n```bash\n(.*?)```", readme, re.DOTALL) == [f"{line}\n"]
    assert readme.splitlines().count(line) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
def test_ci_runs_the_lines_of_the_readme(root):
    done = subprocess.run([root / ".ci" / "run", "--show"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [MAIN_JOB, TESTS]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_is_named_exists(root, document):
    text = (root / document).read_text(encoding="utf-8")
    named = {name for name in re.findall(r"`([^`\n]+)`", text) if _is_path(name)}
    named |= {word for word in re.findall(r"[^\s`()\[\]\"]+\.(?:ipynb|py|txt|md|png|svg)\b", text) if "*" not in word}
    named = {name for name in named if not any(sign in name for sign in ("<", "://", OF_GITHUB))} - set(
        WRITTEN_BY_USERS
    )
    places = (root, (root / document).parent)
    assert named
    assert sorted(name for name in named if not any((place / name).exists() for place in places)) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_resolves(root, document):
    text = (root / document).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href|srcset)="([^"]+)"', text)
    outside = ("#", OF_GITHUB)
    local = [target.split("#")[0] for target in targets if "://" not in target and not target.startswith(outside)]
    folder = (root / document).parent
    assert sorted(target for target in local if not (folder / target).exists()) == []


def test_every_link_within_the_readme_has_its_heading(readme):
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
        for line in readme.splitlines()
        if line.startswith("#")
    }
    targets = set(re.findall(r"\]\(#([^)]+)\)", readme))
    assert targets
    assert targets <= headings


def test_every_module_of_the_package_is_in_contributing(root):
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    modules = {f"nblib/{path.name}" for path in (root / "nblib").glob("*.py") if path.name != "__init__.py"}
    modules |= {f"nblib/{path.parent.name}/" for path in (root / "nblib").glob("*/__init__.py")}
    assert len(modules) > 10
    assert sorted(module for module in modules if f"`{module}`" not in text) == []


def test_every_parameter_that_is_used_exists_in_the_notebook(root, readme):
    commands = [shlex.split(line) for line in readme.splitlines() if line.startswith("papermill ")]
    assert commands
    for _, notebook, _, *rest in commands:
        used = {name for flag, name in itertools.pairwise(rest) if flag in ("-p", "-r")}
        assert used <= _parameters(root / notebook)


def test_every_parameter_in_the_prose_exists_in_rq1(root, readme):
    text = readme + (root / "docs" / "running.md").read_text(encoding="utf-8")
    used = set(re.findall(r"`-p (\w+)", text))
    assert {"model", "task", "preset"} <= used
    assert used <= _parameters(root / "notebooks" / "rq1_peft_vs_icl.ipynb")


def _is_path(name: str) -> bool:
    """Whether the text in back quotes is a file or folder of the repository, not a command, a key or a Hub id."""
    return re.fullmatch(r"(?:nblib|notebooks|data|figures|tests|\.ci|\.github)/[\w./-]*", name) is not None


def _parameters(notebook) -> set[str]:
    (cell,) = [cell for cell in nbformat.read(notebook, 4).cells if "parameters" in cell.metadata.get("tags", [])]
    return {statement.targets[0].id for statement in ast.parse(cell.source).body}
