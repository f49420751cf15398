"""Figures cut nothing off, say in words what they show, and are read on light and dark pages by all readers."""

import base64
import io
import itertools
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from nblib import plots, spec
from nblib.plots import style

GIB = 2.0**30
KINDS = [*spec.METHODS, *spec.QLORA]
NAMES = ["lora", "rslora", "dora", "adalora", "ia3", "prompt-tuning", "prefix-tuning", "p-tuning"]
NAMES += ["adapter", "llama-adapter", "vera", "oft", "ln-tuning", "peft", "full", "a-very-long-name-of-a-method"]
CARDS = {"A": 12, "B": 16, "C": 16, "D": 80}


# --- frames as tables, results.load and stats.summarise make them ---------------------------------------------------


def scored(score: float | None, status: str = "ok", **more) -> dict:
    """The columns of a score, and what most frames have besides."""
    known = score is not None
    ends = (max(0.0, score - 0.06), min(1.0, score + 0.06)) if known else (None, None)
    numbers = {"em@1": score, "em@1_low": ends[0], "em@1_high": ends[1], "em@1_n": 200 if known else None}
    return {"model": "tiny", "task": "conala-mini", "limit": None, "status": status, "seeds": 3} | numbers | more


def table(lines: list[dict]) -> pd.DataFrame:
    frame = pd.DataFrame(lines)
    return frame.astype(
        {name: float for name in frame if name.startswith("em@1") or name.endswith(("_bytes", "_seconds"))}
    )


def method(kind: str, family: str, score: float | None, seconds=None, tokens=23.0, parameters=0.0, **more) -> dict:
    costs = {"train_seconds": seconds, "prompt_tokens": tokens, "trainable_parameters": parameters, "peak_bytes": GIB}
    costs["generate_seconds"] = 2 * tokens
    return {"kind": kind, "family": family} | costs | scored(score, **more)


METHODS = {
    "zero-shot": method("zero-shot", "zero-shot", 0.111, seeds=1),
    "icl-1": method("icl", "ICL", 0.193, None, 58.0),
    "icl-3": method("icl", "ICL", 0.278, None, 131.0),
    "lora": method("lora", "PEFT", 0.452, 41.3, parameters=98_304.0),
    "ia3": method("ia3", "PEFT", 0.251, 38.0, parameters=3_200.0),
    "prompt-tuning": method("prompt-tuning", "PEFT", 0.268, 44.0, parameters=3_840.0),
    "full": method("full", "full fine-tuning", 0.443, 62.0, parameters=2_500_000.0),
}
LOST = {
    "prefix-tuning": method("prefix-tuning", "PEFT", None, status="out_of_memory"),
    "adapter": method("adapter", "other", None, status="failed"),
    "icl-2": method("icl", "ICL", None, status="missing"),
}
RAG = {f"rag-{shots}": method("rag", "RAG", 0.4 + 0.01 * shots, None, 25.0 + 42 * shots) for shots in (1, 2, 3)}
MANY = {
    f"{kind}-{shots}": method(kind, kind.upper(), 0.1 + 0.02 * shots + 0.1 * (kind == "rag"), None, 25.0 + 45 * shots)
    for kind in ("icl", "rag")
    for shots in (1, 2, 4, 8, 16)
}
TRAINED = {kind: method(kind, "PEFT", 0.2 + 0.02 * n, 40.0) for n, kind in enumerate(NAMES[:14])}
CROWD = {f"icl-{n}": method("icl", "ICL", 0.2 + 0.01 * n, None, 50.0 * n, pareto=n == 24) for n in range(1, 25)}


def methods(**changed: dict) -> pd.DataFrame:
    """A line a method, by which it is indexed; `changed` adds or replaces some."""
    lines = METHODS | changed
    return table(list(lines.values())).set_axis(pd.Index(list(lines), name="method"))


def close(step: float) -> pd.DataFrame:
    """Nine methods that score and cost nearly the same."""
    kinds = [*(each["kind"] for each in METHODS.values()), "adapter", "prefix-tuning"]
    lines = [method(kind, "PEFT", 0.3 + 0.004 * n, 40 + step * n) for n, kind in enumerate(kinds)]
    return table(lines).set_axis(pd.Index([*METHODS, "adapter", "prefix-tuning"], name="method"))


def models(names: list[str], count: int = 2) -> pd.DataFrame:
    lines = [
        {
            "method": name,
            "kind": name,
            "total_parameters": 10.0 ** (6 + place),
            "reference": not place and name == "full",
        }
        | scored(None if place == 1 and not number else 0.9 - 0.05 * number, "failed" if place == 1 else "ok")
        | {"model": f"owner/model-{place}"}
        for place in range(count)
        for number, name in enumerate(names)
    ]
    return table(lines)


def grouped(groups=("known operation", "new operation"), names=("zero-shot", "icl-1", "rag-1", "lora")) -> pd.DataFrame:
    lines = [{"group": g, "method": m} | scored(0.1 + 0.1 * n) for g in groups for n, m in enumerate(names)]
    return table(lines)


def ranks(count: int) -> pd.DataFrame:
    lines = [{"mean_rank": n + 1.5, "mean_rank_low": n + 1.0, "mean_rank_high": n + 2.25} for n in range(count)]
    columns = ["mean_rank", "mean_rank_low", "mean_rank_high"]
    return pd.DataFrame(lines, index=pd.Index(NAMES[:count], name="method"), columns=columns)


def matrix(tasks: list[str], lost: bool = False) -> pd.DataFrame:
    lines = []
    for task in tasks:
        for place, trained in enumerate(["nothing (zero-shot)", *tasks, "+".join(tasks)]):
            gone = lost and (task, trained) == (tasks[0], tasks[1])
            line = scored(None if gone else 0.1 + 0.15 * place, "out_of_memory" if gone else "ok", task=task)
            if not lost or (task, trained) != (tasks[1], tasks[0]):
                lines.append(line | {"trained_on": trained, "label": "lora" if place else "zero-shot"})
    return table(lines)


def losses(names: list[str], seeds: int = 3, scale: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame(
        {"method": name, "kind": name, "seed": seed, "model": "tiny", "task": "conala-mini", "epoch": step / 2}
        | {"loss": scale * (0.5 + 0.1 * number + 2 / step + 0.01 * seed), "kept": step == 8}
        for number, name in enumerate(names)
        for seed in range(seeds)
        for step in range(1, 9)
    )


def rates(names: list[str], count: int = 5) -> pd.DataFrame:
    """The highest rate of the first method failed."""
    lines = [
        {"method": name, "kind": name, "split": "validation", "learning_rate": 10.0 ** (step - 5 + number % 3)}
        | scored(None if not number and step == 4 else 0.6 - 0.1 * abs(step - 2) - 0.01 * number)
        for number, name in enumerate(names)
        for step in range(count)
    ]
    return table(lines)


def training(validated: bool = True) -> pd.DataFrame:
    lines = [{"of": "training", "epoch": step / 20, "loss": 2 - step / 25, "kept": False} for step in range(1, 41)]
    lines += [{"of": "validation", "epoch": n, "loss": 1.2 / n, "kept": n == 2} for n in (1, 2) if validated]
    return pd.DataFrame(lines).assign(method="lora", kind="lora", model="tiny", task="conala-mini")


def memory(model: str, precision: str, whole: float | None, **changed) -> dict:
    kinds = dict.fromkeys((f"{kind}_bytes" for kind in plots.KINDS), None if whole is None else whole / 7)
    line = {"model": model, "method": "lora", "kind": "lora", "label": f"lora {precision}", "device": "cuda"}
    line |= {"measured": "allocated peak", "shape_only": False, "status": "out_of_memory" if whole is None else "ok"}
    line |= {"memory_bytes": whole, "step_seconds": 0.5, "predicted_bytes": None if whole is None else 1.1 * whole}
    return line | kinds | changed


THREE = [memory("small", "bf16", 0.02 * GIB), memory("small", "nf4", 0.01 * GIB), memory("large", "bf16", 14 * GIB)]
OUT = memory("large", "fp32", None)
PREDICTED = memory("large", "bf16", 10 * GIB, measured="predicted", logits_bytes=4 * GIB)


def pays(**changed: dict) -> pd.DataFrame:
    lines = {}
    for label, tokens, score in [
        *(("icl-1", 228.0, 0.2), ("icl-2", 270.0, 0.3), ("icl-3", 311.0, 0.25)),
        *(("rag-1", 225.0, 0.4), ("rag-2", 265.0, 0.45), ("rag-3", 310.0, 0.5)),
    ]:
        line = {"kind": label[:3], "family": label[:3].upper(), "base": "lora", "base_kind": "lora", "score": score}
        for unit, once, base, cost in (("tokens", 200_000.0, 184.0, tokens), ("seconds", 11.0, 0.05, tokens / 2500)):
            values = {"once": once, "base": base, "method": cost, "queries": np.ceil(once / (cost - base)), "why": None}
            line |= {f"{unit}_{name}": value for name, value in values.items()}
        lines[label] = line | changed.get(label.replace("-", "_"), {})
    return pd.DataFrame(lines.values(), index=pd.Index(list(lines), name="method"))


NEVER = {"tokens_queries": None, "tokens_why": "never: lora is not cheaper a query", "tokens_method": 150.0}
UNMEASURED = dict.fromkeys([f"seconds_{name}" for name in ("once", "base", "method", "queries")])
UNMEASURED["seconds_why"] = "not measured"


def near(similarities, scores, unknown=0) -> pd.DataFrame:
    frame = pd.DataFrame({"similarity": similarities, "score": scores, "unknown": unknown}, dtype=float)
    return frame.assign(method="rag-1", kind="rag", model="tiny", task="conala-mini")


ENDED = pd.DataFrame(
    {"difficulty": difficulty, "method": name, "n": 67}
    | {f"ended {kind}": share for kind, share in zip(plots.ENDINGS, shares, strict=False)}
    for difficulty in ("all", "introductory", "interview", "competition")
    for name, shares in (("zero-shot", (0.2, 0.5, 0.1, 0.1, 0.1)), ("qlora-4bit", (0.9, 0.0, 0.1, 0.0, 0.0)))
)
BY_LABEL = {"name": "label", "sections": "model"}
RANDOM = np.random.default_rng(0)
FIGURES = {
    "forest": lambda: plots.forest(methods()),
    "forest with lost runs": lambda: plots.forest(methods(**LOST)),
    "forest of lost runs": lambda: plots.forest(methods(**LOST).loc[list(LOST)]),
    "empty forest": lambda: plots.forest(methods().iloc[:0]),
    "forest of a right one": lambda: plots.forest(methods(lora=method("lora", "PEFT", 1.0)).loc[["lora"]]),
    "forest with a long name": lambda: plots.forest(
        methods(**{"lora r=16, alpha=32, learning_rate=0.0003, epochs=12": method("lora", "PEFT", 0.4)})
    ),
    "forest by model": lambda: plots.forest(models(["full", "lora", "ia3"]), sections="model"),
    "large forest by model": lambda: plots.forest(models(NAMES, 3), sections="model"),
    "forest by group": lambda: plots.forest(grouped(), marks="group"),
    "forest by long groups": lambda: plots.forest(
        grouped([f"a rather long name of group {n}" for n in range(6)]), marks="group"
    ),
    "forest of ranks": lambda: plots.forest(ranks(4), "mean_rank"),
    "large forest of ranks": lambda: plots.forest(ranks(16), "mean_rank"),
    "forest of seconds": lambda: plots.forest(table([*THREE, OUT]), "step_seconds", **BY_LABEL),
    "forest of predictions": lambda: plots.forest(table(THREE), "memory_bytes", beside="predicted_bytes", **BY_LABEL),
    "two tasks": lambda: plots.heat_map(matrix(["conala-mini", "codealpaca-mini"])),
    "four tasks with gaps": lambda: plots.heat_map(matrix(["conala-mini", "codealpaca-mini", "odex", "mbpp"], True)),
    "no tasks": lambda: plots.heat_map(matrix(["a", "b"]).iloc[:0]),
    "one curve": lambda: plots.curves(losses(["lora"], 1)),
    "sixteen curves": lambda: plots.curves(losses(NAMES)),
    "curves of small losses": lambda: plots.curves(losses(NAMES[:3], scale=1e-3)),
    "no curves": lambda: plots.curves(losses(["lora"]).iloc[:0]),
    "rates": lambda: plots.curves(rates(["lora"]), "learning_rate", "em@1", chosen={"lora": 1e-3}),
    "one rate": lambda: plots.curves(rates(["lora"], 1), "learning_rate", "em@1"),
    "sixteen methods' rates": lambda: plots.curves(rates(NAMES), "learning_rate", "em@1"),
    "no rates": lambda: plots.curves(rates(["lora"]).iloc[:0], "learning_rate", "em@1"),
    "training": lambda: plots.loss_curve(training()),
    "no training": lambda: plots.loss_curve(training().iloc[:0], epochs=3),
    **{f"scatter over {cost}": lambda cost=cost: plots.scatter(methods(**LOST), cost) for cost in plots.COSTS},
    **{f"close points, {step}": lambda step=step: plots.scatter(close(step)) for step in (0.0, 0.4, 2.0)},
    "front": lambda: plots.scatter(methods().assign(pareto=[True, False, False, True, False, False, False])),
    "crowd": lambda: plots.scatter(table(list(CROWD.values())), "prompt_tokens", name="family", chosen=3),
    "lines": lambda: plots.scatter(methods(**RAG), "prompt_tokens", lines=True),
    "lines of many": lambda: plots.scatter(methods(**MANY, **TRAINED), "prompt_tokens", lines=True),
    "no points": lambda: plots.scatter(methods().iloc[:0]),
    "break-even": lambda: plots.break_even(pays()),
    "break-even of all": lambda: plots.break_even(pays(), methods=list(pays().index), subtitle="conala-mini with tiny"),
    "break-even never": lambda: plots.break_even(pays(rag_3=NEVER)),
    "break-even not measured": lambda: plots.break_even(pays(rag_3=UNMEASURED, icl_2=UNMEASURED)),
    "no break-even": lambda: plots.break_even(pays().iloc[:0]),
    "memory of one": lambda: plots.memory_by_kind(table(THREE[2:])),
    "memory with cards": lambda: plots.memory_by_kind(table([*THREE, OUT]), cards=CARDS),
    "predicted memory": lambda: plots.memory_by_kind(table([PREDICTED]), cards=CARDS),
    "no memory": lambda: plots.memory_by_kind(table(THREE).iloc[:0]),
    "lengths": lambda: plots.lengths({"intent": [3, 9, 12], "code": range(90)}, limits={"code": 64}),
    "one length": lambda: plots.lengths({"intent": [7]}),
    "similarities": lambda: plots.similarities(near(RANDOM.beta(3, 2, 200), RANDOM.integers(0, 2, 200))),
    "one similarity": lambda: plots.similarities(near([1.0], [1.0])),
    "far similarities": lambda: plots.similarities(near([-30.0, 5.0, 90.0], [1.0, None, 0.0], unknown=3)),
    "no similarities": lambda: plots.similarities(near([], [])),
    "endings": lambda: plots.endings(ENDED, subtitle="apps-mini with tiny"),
    "no endings": lambda: plots.endings(ENDED.iloc[:0]),
}


# --- what is seen ---------------------------------------------------------------------------------------------------


def texts(figure: Figure) -> list[Text]:
    """All that is written and seen; ticks beyond the limits of an axis are not."""
    figure.canvas.draw()
    ticks = {label: axes for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())}
    found = [each for each in figure.findobj(Text) if each.get_visible() and each.get_text().strip()]
    return [each for each in found if each not in ticks or _on_axis(each, ticks[each])]


def _on_axis(label: Text, axes) -> bool:
    box, (x, y) = axes.get_window_extent().padded(1), label.get_transform().transform(label.get_position())
    return box.x0 <= x <= box.x1 if label in axes.get_xticklabels() else box.y0 <= y <= box.y1


def written(figure: Figure) -> list[str]:
    return [each.get_text() for each in texts(figure)]


def boxes(figure: Figure) -> list[tuple[str, mpl.transforms.Bbox]]:
    """Each text and where it is, without the line that joins it to a point."""
    return [(each.get_text(), Text.get_window_extent(each).padded(-1)) for each in texts(figure)]


def cut_off(figure: Figure) -> list[str]:
    page = figure.bbox
    return [
        text
        for text, box in boxes(figure)
        if not (page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1)
    ]


def covered(figure: Figure) -> list[tuple[str, str]]:
    """Texts that cover one another."""
    return [(a, b) for (a, one), (b, other) in itertools.combinations(boxes(figure), 2) if one.overlaps(other)]


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_or_covered_and_all_is_in_words(name):
    figure = FIGURES[name]()
    assert len(texts(figure)) >= 2
    assert cut_off(figure) == []
    assert covered(figure) == []
    assert len(plots.alternative(figure)) > 20
    assert figure.get_size_inches()[0] == 8


def test_what_is_cut_off_or_covered_is_found():
    figure = FIGURES["two tasks"]()
    figure.text(0.99, 0.5, "far too long for this place")
    figure.axes[0].text(0.5, 0.5, "in the way")
    assert cut_off(figure) == ["far too long for this place"]
    assert covered(figure) != []


def test_nothing_global_changes():
    from matplotlib import pyplot

    before = dict(mpl.rcParams)
    for name in ("forest", "two tasks", "rates", "lines", "memory with cards", "lengths", "endings"):
        plots.shown(FIGURES[name]())
    assert dict(mpl.rcParams) == before
    assert pyplot.get_fignums() == []


def test_the_order_of_lines_changes_no_number():
    assert plots.alternative(plots.forest(methods().iloc[::-1])) == plots.alternative(plots.forest(methods()))


# --- colours --------------------------------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes 2009, severity 1; from linear RGB to linear RGB
SIGHT = {
    "all cones": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def seen(colour: str, sight: str) -> np.ndarray:
    """CIELAB of a colour as a reader with that sight sees it."""
    value = np.array(mpl.colors.to_rgb(colour))
    linear = SIGHT[sight] @ np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ np.clip(linear, 0, 1) / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.fixture(params=style.PAGES)
def page(request) -> Iterator[style.Page]:
    """Each page, with figures made for it."""
    plots.use(request.param)
    yield style.PAGES[request.param]
    plots.use("light")


def test_every_kind_has_a_colour_of_its_own():
    assert set(plots.COLOURS) == set(KINDS)
    assert len({*map(plots.colour, KINDS), plots.OTHER}) == len(KINDS) + 1
    assert plots.colour("something-new") == plots.OTHER


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_differ_for_all_readers(sight):
    for shades in (map(plots.colour, KINDS), plots.KINDS.values()):
        pairs = itertools.combinations([seen(each, sight) for each in shades], 2)
        assert min(float(np.linalg.norm(a - b)) for a, b in pairs) > 10  # a just noticeable difference is about 2.3


@pytest.mark.parametrize("kind", [*KINDS, "something-new"])
def test_a_method_stands_out_from_both_pages_in_one_colour(kind):
    for each in style.PAGES.values():
        assert style.contrast(plots.colour(kind), each.ground) >= 3  # WCAG 2.2, 1.4.11


@pytest.mark.parametrize(
    "name", ["forest by group", "forest by model", "rates", "lines", "crowd", "break-even", "lengths"]
)
def test_all_text_is_read_on_its_page(name, page):
    faint = {each.get_text(): style.contrast(each.get_color(), page.ground) for each in texts(FIGURES[name]())}
    assert {text: ratio for text, ratio in faint.items() if ratio < 4.5} == {}  # WCAG 2.2, 1.4.3


def test_numbers_in_bars_and_cells_stand_out_from_them(page):
    figure = plots.endings(ENDED)
    for axes in figure.axes:
        inside = {text.get_text(): text.get_color() for text in axes.texts if text.get_text().strip()}
        assert inside
        for bars in axes.containers:
            shade = mpl.colors.to_hex(bars[0].get_facecolor())
            assert max(style.contrast(ink, shade) for ink in inside.values()) >= 4.5
    axes = plots.heat_map(matrix([f"task-{number}" for number in range(4)])).axes[0]
    cells = axes.collections[0].get_facecolors().reshape(6, 4, 4)
    for text in axes.texts:
        x, y = text.get_position()
        assert style.contrast(text.get_color(), mpl.colors.to_hex(cells[int(y), int(x)])) >= 4.5


def test_a_bar_that_a_dark_page_would_swallow_grows_lighter_in_its_hue():
    assert style.fill("#332288") == "#332288"
    plots.use("dark")
    try:
        found = style.fill("#332288")
        assert style.contrast(found, style.page().ground) >= 3
    finally:
        plots.use("light")
    hues = [mpl.colors.rgb_to_hsv(mpl.colors.to_rgb(each))[0] for each in ("#332288", found)]
    assert hues[0] == pytest.approx(hues[1], abs=0.01)


def test_another_page_is_refused():
    with pytest.raises(ValueError, match="a page is light or dark; got 'solarized'"):
        plots.use("solarized")


# --- files ----------------------------------------------------------------------------------------------------------


def test_writes_png_and_svg_on_the_ground_of_the_page_and_nothing_else(page, tmp_path):
    paths = plots.save(plots.forest(methods()), tmp_path / "figures", "rq1")
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["rq1.png", "rq1.svg"]
    with Image.open(paths[0]) as picture:
        assert (picture.width, picture.mode) == (1200, "P")
        pixels = np.asarray(picture.convert("RGBA"))
        assert picture.info["Description"].startswith("EM@1 by method")
        assert "Software" not in picture.info
    ground = (*bytes.fromhex(page.ground[1:]), 255)
    assert {tuple(pixels[0, 0]), tuple(pixels[-1, -1])} == {ground}
    assert f"fill: {page.ground.lower()}" in paths[1].read_text(encoding="utf-8")


def test_a_picture_is_small_and_its_colours_are_the_figures(tmp_path):
    figure = plots.forest(methods())
    plain = io.BytesIO()
    with style.context():
        figure.savefig(plain, dpi=150)
    small = plots.shown(figure).png
    drawn, kept = (
        np.asarray(Image.open(io.BytesIO(each)).convert("RGB")).astype(int) for each in (plain.getvalue(), small)
    )
    assert len(small) < 0.6 * len(plain.getvalue())
    assert (np.abs(drawn - kept).max(axis=-1) <= 8).mean() > 0.99


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for make in (lambda: plots.forest(methods()), lambda: plots.scatter(methods())):  # names are moved apart in order
        first, second = (plots.save(make(), tmp_path / each, "rq1") for each in "ab")
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_svg_keeps_text_as_text_and_describes_itself():
    svg = plots.svg(plots.forest(methods()), alt=r"LoRA <wins> & more\1")
    assert ">prompt-tuning</text>" in svg
    assert r"<desc>LoRA &lt;wins&gt; &amp; more\1</desc>" in svg
    assert 'role="img"' in svg
    assert "dc:date" not in svg


def test_jupyter_gets_the_alternative_text():
    figure = plots.forest(methods())
    data, metadata = plots.shown(figure)._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"] == metadata["image/png"]["alt"] == plots.alternative(figure) == repr(plots.shown(figure))
