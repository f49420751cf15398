"""A table shows itself everywhere the same, with the marks that its columns ask for."""

import re
import shutil
import subprocess

import pandas as pd
import pytest

from nblib import tables
from nblib.tables import Marked, Table

ODD = r"50 % of a_b & {c} $d #e ~f ^g \h ≈ – ± <x>"
SCORES = pd.DataFrame(
    {
        "method": ["lora", "ia3", "oft", "full"],
        "status": ["ok", "ok", "ok", "out_of_memory"],
        "em@1": [0.65, 0.63, 0.1, None],
        "em@1_sd": [0.017, None, None, None],
        "em@1_low": [0.6, 0.5, 0.05, None],
        "em@1_high": [0.7, 0.7, 0.2, None],
        "em@1_n": [120, 117, 120, None],
        "em@1_missing": [0, 3, 0, None],
        "em@1_tie": pd.array([None, True, False, None], dtype="boolean"),
        "em@1_rank": [1, 2, 3, None],
        "train_seconds": [41.26, 3.5, 120.0, None],
        "adapter_bytes": [393_216.0, 812.0, 2.0**30, None],
        "difference": [0.031, -0.004, 0.0, None],
        "p": [0.0004, 0.012, 1.0, None],
        "verdict": ["higher", "tie", "lower", None],
        "seeds": [3, 2, 1, 0],
        "failed": [0, 1, 0, 0],
        "out_of_memory": [0, 0, 0, 2],
    }
)
SHOWN = ("method", "em@1", "train_seconds", "adapter_bytes", "difference", "p", "verdict", "seeds", "em@1_n")


def test_the_ends_of_names_say_how_a_cell_is_written():
    lines = Table(SCORES, columns=SHOWN).to_markdown().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head, lora, ia3, oft, full = (cells[place] for place in (0, 2, 3, 4, 5))
    assert head[:4] == ["method", "EM@1 (%)", "training (s)", "saved adapter"]
    assert head[4:] == ["difference (points)", "p (Holm)", "verdict", "seeds", "n"]
    assert lora[1] == "**65.0**\xa0(60.0\xa0to\xa070.0)"
    assert lora[2:] == ["41.3", "384.0 KiB", "+3.1", "< 0.001", "higher", "3", "120"]
    assert ia3[1].split() == ["_63.0_", "≈", "(50.0", "to", "70.0)"]
    assert ia3[2:] == ["3.5", "812 B", "−0.4", "0.012", "not told apart", "2 (1 failed)", "117 of 120"]
    assert oft[1:4] == ["10.0\xa0(5.0\xa0to\xa020.0)", "120.0", "1.0 GiB"]
    assert full[1:] == ["OOM", "–", "–", "–", "–", "–", "0 (2 OOM)", "–"]
    assert re.search(
        r"lora +ok +\*\*65.0\*\* ± 1.7 \(60.0 to 70.0\) +41.3", Table(SCORES).text
    )  # without chosen columns, and so with standard deviations


def test_html_is_what_github_keeps():
    html = Table(SCORES.assign(method=["a<b>"] * 4), ("a & b",), "50 %", SHOWN)._repr_html_()
    assert set(re.findall(r"</?(\w+)", html)) <= set("p table thead tbody tr th td b ins small".split())
    assert not re.search(r"class=|<t[hd]\b(?! align)", html)  # GitHub strips styles: an attribute says the same
    for text in (" nowrap><b>65.0</b> (60.0 to 70.0)</td>", "<ins>63.0</ins> ≈", "a&lt;b&gt;", "a &amp; b"):
        assert text in html
    assert "nan" not in html.lower()


def test_code_keeps_its_lines_and_scrolls_marked_texts_their_html_and_long_ones_are_not_cut():
    long = "  first\n    second<" + "x" * 80
    table = Table(
        pd.DataFrame({"code": [long], "answer": [Marked("{+a+}", "<ins>a</ins>")]}, dtype=object), code=("code",)
    )
    assert (
        f'overflow-x: auto; white-space: pre">&nbsp;&nbsp;first\n&nbsp;&nbsp;&nbsp;&nbsp;second&lt;{"x" * 80}</pre>'
        in table.html
    )
    assert "<ins>a</ins>" in table.html
    assert table.text == f"code: {long}\nanswer: {{+a+}}"


def test_a_table_shows_few_columns_and_all_on_demand_and_in_latex():
    table = Table(SCORES, columns=SHOWN[:2], wide=SHOWN)
    assert "p (Holm)" not in table.to_markdown()
    assert "tables.full" in table.text
    whole = Table(SCORES, columns=SHOWN, wide=SHOWN)
    assert tables.full(table).to_markdown() == whole.to_markdown()
    assert "**65.0** ± 1.7" in whole.text
    assert "tables.full" not in tables.full(table).html
    assert table.to_latex() == whole.to_latex()


def test_a_group_is_named_once_and_empty_tables_are_not_shown():
    frame = pd.DataFrame({"model": ["m", "m", "n"], "x": [1, 2, 3]})
    lines = Table(frame, group="model").to_markdown().splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == ["m", "", "n"]
    assert tables.paragraph("Nothing is there.").text == "Nothing is there."
    assert "table" not in tables.paragraph("Nothing is there.").html


def test_latex_escapes_parts_groups_and_compiles(tmp_path):
    frame = pd.DataFrame({"model": ["m", "m", "n"], "x_y": [ODD, "b", "c"], "em@1": [0.5, 0.4, 0.3]})
    table = Table(frame.assign(**{"em@1_rank": [1, 2, 3]}), group="model")
    text = table.write_latex(tmp_path / "table.tex", caption=ODD, label="tab:x").read_text()
    assert r"50 \% of a\_b \& \{c\} \$d \#e \textasciitilde{}f \textasciicircum{}g \textbackslash{}h" in text
    assert r"\textbf{50.0}" in text
    assert text.count(r"\midrule") == 2
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    head = "\\documentclass{article}\\usepackage{booktabs}\\usepackage{graphicx}"
    (tmp_path / "all.tex").write_text(f"{head}\\begin{{document}}\\input{{table}}\\end{{document}}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_csv_has_plain_numbers(tmp_path):
    path = Table(SCORES.set_index("method"), columns=("method",)).to_csv(tmp_path / "made" / "rq1.csv")
    assert pd.read_csv(path, index_col="method")["em@1"].tolist()[:3] == [0.65, 0.63, 0.1]
