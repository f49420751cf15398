"""Figures show every method with its number, cut nothing off, and say in words what they show."""

import base64
import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from PIL import Image

from nblib import plots, spec

METHODS = {  # label -> kind, family, EM@1, training seconds, prompt tokens, trained parameters
    "zero-shot": ("zero-shot", "zero-shot", 0.111, None, 23.0, 0),
    "icl-1": ("icl", "ICL", 0.193, None, 58.0, 0),
    "icl-3": ("icl", "ICL", 0.278, None, 131.0, 0),
    "lora": ("lora", "PEFT", 0.452, 41.3, 23.0, 98_304),
    "ia3": ("ia3", "PEFT", 0.251, 38.0, 23.0, 3_200),
    "prompt-tuning": ("prompt-tuning", "PEFT", 0.268, 44.0, 23.0, 3_840),
    "full": ("full", "full fine-tuning", 0.443, 62.0, 23.0, 2_500_000),
}


def line(kind, family, score, seconds=None, tokens=23.0, parameters=0, status="ok") -> dict:
    known = score is not None
    return {
        "kind": kind,
        "family": family,
        "model": "tiny",
        "task": "conala-mini",
        "limit": None,
        "status": status,
        "seeds": 3 if known and kind != "zero-shot" else int(known),
        "em@1": score,
        "em@1_low": max(0.0, score - 0.06) if known else None,
        "em@1_high": min(1.0, score + 0.06) if known else None,
        "em@1_n": 200 if known else None,
        "train_seconds": seconds,
        "prompt_tokens": tokens if known else None,
        "trainable_parameters": parameters if known else None,
        "peak_bytes": 2.0**30 if known else None,
    }


def frame(**changed: dict) -> pd.DataFrame:
    """What tables.comparison makes, in its order; `changed` adds or replaces methods."""
    lines = {label: line(*values) for label, values in METHODS.items()}
    for label, values in changed.items():
        lines[label] = values
    table = pd.DataFrame(lines.values(), index=list(lines)).rename_axis("method")
    numbers = [name for name in table if name not in ("kind", "family", "model", "task", "status")]
    return table.astype(dict.fromkeys(numbers, float)).astype({"seeds": int})


LOST = {
    "prefix-tuning": line("prefix-tuning", "PEFT", None, status="out_of_memory"),
    "adapter": line("adapter", "other", None, status="failed"),
    "icl-2": line("icl", "ICL", None, status="missing"),
}


def texts(figure: Figure) -> list[Text]:
    """All that is written and seen."""
    figure.canvas.draw()
    found = figure.findobj(
        lambda artist: isinstance(artist, Text) and artist.get_visible() and artist.get_text().strip()
    )
    ticks = [label for axes in figure.axes for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    inside = [axes.get_window_extent().padded(1) for axes in figure.axes]
    return [
        each
        for each in found
        if each not in ticks or any(_on_axis(each, axes, box) for axes, box in zip(figure.axes, inside, strict=True))
    ]


def _on_axis(label: Text, axes, box) -> bool:
    """Whether a tick label belongs to a tick that is drawn: those beyond the limits are not."""
    x, y = label.get_transform().transform(label.get_position())
    if label in axes.get_xticklabels():
        return box.x0 <= x <= box.x1
    return label in axes.get_yticklabels() and box.y0 <= y <= box.y1


def written(figure: Figure) -> list[str]:
    return [each.get_text() for each in texts(figure)]


def cut_off(figure: Figure) -> list[str]:
    """What leaves the figure."""
    page = figure.bbox.padded(0.5)
    boxes = [(each.get_text(), each.get_window_extent()) for each in texts(figure)]
    return [
        text
        for text, box in boxes
        if not (page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1)
    ]


def names(figure: Figure) -> list[Annotation]:
    return [each for each in figure.axes[0].texts if isinstance(each, Annotation)]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Names that cover one another; only the text counts, not the line to the point."""
    figure.canvas.draw()
    boxes = [(each.get_text(), Text.get_window_extent(each).padded(-1)) for each in names(figure)]
    return [(a, b) for (a, first), (b, second) in itertools.combinations(boxes, 2) if first.overlaps(second)]


ENDED = pd.DataFrame(
    [
        {
            "difficulty": difficulty,
            "method": method,
            "n": 67,
            **{f"ended {kind}": share for kind, share in zip(plots.ENDINGS, shares, strict=False)},
        }
        for difficulty in ("all", "introductory", "interview", "competition")
        for method, shares in (("zero-shot", (0.2, 0.5, 0.1, 0.1, 0.1)), ("qlora-4bit", (0.9, 0.0, 0.1, 0.0, 0.0)))
    ]
)
FIGURES = {
    "endings": lambda: plots.endings(ENDED, subtitle="apps-mini with tiny"),
    "endings of one difficulty": lambda: plots.endings(ENDED.iloc[:2]),
    "all methods": lambda: plots.ranking(frame()),
    "lost runs": lambda: plots.ranking(frame(**LOST)),
    "one method": lambda: plots.ranking(frame().loc[["lora"]]),
    "nothing but lost runs": lambda: plots.ranking(frame(**LOST).loc[list(LOST)]),
    "no methods": lambda: plots.ranking(frame().iloc[:0]),
    "all right": lambda: plots.ranking(frame(lora=line("lora", "PEFT", 1.0))),
    "a long name": lambda: plots.ranking(
        frame(**{"lora r=16, alpha=32, learning_rate=0.0003, epochs=12": line("lora", "PEFT", 0.4)})
    ),
    "training time": lambda: plots.cost_quality(frame(**LOST)),
    "prompt length": lambda: plots.cost_quality(frame(), "prompt_tokens"),
    "parameters": lambda: plots.cost_quality(frame(), "trainable_parameters"),
    "memory": lambda: plots.cost_quality(frame(), "peak_bytes"),
    "no costs": lambda: plots.cost_quality(frame().iloc[:0]),
    "lengths": lambda: plots.length_histogram({"intent": [3, 9, 12], "code": range(90)}, limits={"code": 64}),
    "one length": lambda: plots.length_histogram({"intent": [7]}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name):
    figure = FIGURES[name]()
    assert len(texts(figure)) >= 3
    assert cut_off(figure) == []


def test_what_is_cut_off_is_found():
    figure = plots.ranking(frame())
    figure.text(0.99, 0.5, "far too long for this place")
    assert cut_off(figure) == ["far too long for this place"]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_it_shows(name):
    assert len(plots.alternative(FIGURES[name]())) > 20


def test_nothing_global_changes():
    from matplotlib import pyplot

    before = dict(mpl.rcParams)
    for make in FIGURES.values():
        plots.shown(make())
    assert dict(mpl.rcParams) == before
    assert pyplot.get_fignums() == []


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


class TestColours:
    KINDS = (*spec.METHODS, *spec.QLORA)

    @staticmethod
    def linear(colour: str) -> np.ndarray:
        value = np.array(mpl.colors.to_rgb(colour))
        return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)

    @staticmethod
    def lab(linear: np.ndarray) -> np.ndarray:
        to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        x, y, z = np.cbrt(to_xyz @ np.clip(linear, 0, 1) / np.array([0.9505, 1.0, 1.089]))
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    def test_every_kind_has_its_own(self):
        assert set(plots.COLOURS) == set(self.KINDS)
        assert len({*map(plots.colour, self.KINDS), plots.OTHER}) == len(self.KINDS) + 1
        assert plots.colour("something-new") == plots.OTHER

    @pytest.mark.parametrize("kind", KINDS)
    def test_stands_out_from_white(self, kind):
        luminance = self.linear(plots.colour(kind)) @ np.array([0.2126, 0.7152, 0.0722])
        assert 1.05 / (luminance + 0.05) >= 3  # WCAG 2.2, 1.4.11

    @pytest.mark.parametrize("sight", SIGHT)
    def test_kinds_differ_for_all_readers(self, sight):
        seen = {kind: self.lab(SIGHT[sight] @ self.linear(plots.colour(kind))) for kind in self.KINDS}
        nearest = min(float(np.linalg.norm(seen[a] - seen[b])) for a, b in itertools.combinations(seen, 2))
        assert nearest > 10  # a just noticeable difference is about 2.3


class TestRanking:
    def test_runs_from_best_to_worst_and_lost_runs_stand_below(self):
        figure = plots.ranking(frame(**LOST))
        labels = [each.get_text() for each in figure.axes[0].get_yticklabels()]
        assert labels == [
            *("lora", "full", "icl-3", "prompt-tuning", "ia3", "icl-1", "zero-shot"),
            *("prefix-tuning", "adapter", "icl-2"),
        ]
        low, high = figure.axes[0].get_ylim()
        assert low > high  # the first at the top

    def test_says_every_number_and_every_loss(self):
        said = written(plots.ranking(frame(**LOST)))
        assert {"45.2 %", "39.2–51.2", "11.1 %", "out of memory", "failed", "not run"} <= set(said)

    def test_says_on_what_it_rests(self):
        said = " ".join(written(plots.ranking(frame())))
        assert "conala-mini with tiny · n = 200, 3 seeds (zero-shot 1) · bars: 95 % intervals" in said
        assert "(%)" in said

    def test_partial_results_say_so(self):
        assert "partial" in " ".join(written(plots.ranking(frame().assign(limit=20.0))))

    def test_the_order_of_lines_changes_nothing(self):
        table = frame()
        assert plots.alternative(plots.ranking(table.iloc[::-1])) == plots.alternative(plots.ranking(table))

    def test_scores_without_intervals_are_drawn(self):
        table = frame().assign(**{"em@1_low": np.nan, "em@1_high": np.nan})
        said = written(plots.ranking(table))
        assert "45.2 %" in said
        assert "95 % interval" not in said

    def test_its_words_hold_the_numbers(self):
        words = plots.alternative(plots.ranking(frame(**LOST)))
        assert words.startswith(
            "EM@1 by method, best first, with 95 % intervals: lora 45.2 % (39.2 to 51.2); full 44.3 %"
        )
        assert words.endswith("prefix-tuning out of memory; adapter failed; icl-2 not run.")

    @pytest.mark.parametrize("metric", ["em@2", "codebleu"])
    def test_a_score_that_is_not_there_is_refused(self, metric):
        with pytest.raises(ValueError, match="the column must be one of em@1; got "):
            plots.ranking(frame(), metric)


class TestCostQuality:
    def test_names_every_point_once(self):
        for cost in ("train_seconds", "prompt_tokens", "trainable_parameters", "peak_bytes"):
            figure = plots.cost_quality(frame(), cost)
            assert sorted(each.get_text() for each in names(figure)) == sorted(METHODS)

    @pytest.mark.parametrize("cost", ["train_seconds", "prompt_tokens", "trainable_parameters", "peak_bytes"])
    def test_names_do_not_cover_one_another(self, cost):
        assert overlapping(plots.cost_quality(frame(), cost)) == []

    @pytest.mark.parametrize("step", [0.0, 0.4, 2.0])
    def test_nine_methods_close_together_can_be_told_apart(self, step):
        close = {
            label: line(kind, "PEFT", 0.3 + 0.004 * place, 40 + step * place)
            for place, (label, kind) in enumerate(
                [
                    *((label, each[0]) for label, each in METHODS.items()),
                    ("adapter", "adapter"),
                    ("prefix-tuning", "prefix-tuning"),
                ]
            )
        }
        figure = plots.cost_quality(frame(**close))
        assert len(names(figure)) == 9
        assert overlapping(figure) == []
        assert cut_off(figure) == []

    def test_overlapping_names_would_be_found(self):
        figure = plots.cost_quality(frame())
        figure.axes[0].annotate(
            "in the way", names(figure)[0].xy, xytext=names(figure)[0].xyann, textcoords="offset points"
        )
        assert overlapping(figure) != []

    def test_prompting_trains_for_no_time(self):
        words = plots.alternative(plots.cost_quality(frame()))
        assert "icl-3 27.8 % at 0 seconds" in words
        assert "lora 45.2 % at 41.3 seconds" in words

    def test_methods_without_a_point_are_named(self):
        said = " ".join(written(plots.cost_quality(frame(**LOST)))).replace("\n", " ")
        assert "without a point: prefix-tuning, adapter, icl-2" in said

    def test_a_cost_that_spans_far_has_a_log_axis_with_a_zero(self):
        axes = plots.cost_quality(frame(), "trainable_parameters").axes[0]
        assert axes.get_xscale() == "symlog"
        assert 0 in axes.get_xticks()
        assert plots.cost_quality(frame()).axes[0].get_xscale() == "linear"

    def test_memory_is_in_gib(self):
        figure = plots.cost_quality(frame(), "peak_bytes")
        assert figure.axes[0].get_xlabel() == "peak memory (GiB)"
        assert "lora 45.2 % at 1 GiB" in plots.alternative(figure)

    def test_an_unknown_cost_is_refused(self):
        with pytest.raises(ValueError, match="one of train_seconds, prompt_tokens, .*; got 'money'"):
            plots.cost_quality(frame(), "money")


class TestLengths:
    def test_counts_every_text_and_says_what_is_too_long(self):
        lengths = {"intent": [3, 3, 9], "code": [*range(60), 70, 70, 400]}
        figure = plots.length_histogram(lengths, limits={"code": 64, "other": 5})
        drawn = [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes]
        assert drawn == [3, 62]
        said = written(figure)
        assert {"limit 64: 3 longer", "1 beyond →", "length (tokens)"} <= set(said)
        assert "code: 63 texts, median 31, longest 400 tokens, 3 above the limit of 64" in plots.alternative(figure)

    def test_the_limit_itself_is_not_too_long(self):
        assert "limit 64: 0 longer" in written(plots.length_histogram({"code": [64, 64]}, limits={"code": 64}))

    def test_a_column_without_texts_is_refused(self):
        with pytest.raises(ValueError, match="code has none"):
            plots.length_histogram({"intent": [1], "code": []})
        with pytest.raises(ValueError, match="got none"):
            plots.length_histogram({})


class TestSave:
    def test_writes_png_and_svg_and_nothing_else(self, tmp_path):
        paths = plots.save(plots.ranking(frame()), tmp_path / "figures", "rq1")
        assert [path.name for path in paths] == ["rq1.png", "rq1.svg"]
        assert sorted(path.name for path in paths[0].parent.iterdir()) == ["rq1.png", "rq1.svg"]

    def test_a_picture_is_small_and_its_colours_are_the_figures(self, tmp_path):
        figure = plots.ranking(frame())
        path = plots.save(figure, tmp_path, "small")[0]
        plain = tmp_path / "plain.png"
        with plots.style():
            figure.savefig(plain, dpi=150)
        drawn, kept = (np.asarray(Image.open(each).convert("RGB")).astype(int) for each in (plain, path))
        assert path.stat().st_size < 0.6 * plain.stat().st_size
        assert (drawn == kept).all(axis=-1).mean() > 0.99

    def test_the_same_figure_gives_the_same_bytes(self, tmp_path):
        first, second = (plots.save(plots.ranking(frame()), tmp_path / each, "rq1") for each in "ab")
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]

    def test_the_picture_is_1200_pixels_wide_and_opaque(self, tmp_path):
        path, _ = plots.save(plots.ranking(frame()), tmp_path, "rq1")
        with Image.open(path) as picture:
            assert picture.width == 1200
            assert picture.convert("RGBA").getchannel("A").getextrema() == (255, 255)
            assert picture.info["Description"].startswith("EM@1 by method")
            assert "Software" not in picture.info

    def test_svg_keeps_text_as_text_and_describes_itself(self, tmp_path):
        _, path = plots.save(plots.ranking(frame()), tmp_path, "rq1", alt="LoRA <wins> & more")
        text = path.read_text(encoding="utf-8")
        assert ">prompt-tuning</text>" in text
        assert "<desc>LoRA &lt;wins&gt; &amp; more</desc>" in text
        assert 'role="img"' in text
        assert "dc:date" not in text

    def test_jupyter_gets_the_alternative_text(self):
        figure = plots.ranking(frame())
        data, metadata = plots.shown(figure)._repr_mimebundle_()
        assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
        assert data["text/plain"] == metadata["image/png"]["alt"] == plots.alternative(figure)
        assert repr(plots.shown(figure)) == plots.alternative(figure)
