"""The figure of mean ranks: every method named, every number in words, nothing cut off."""

import pandas as pd
import pytest

from nblib import plots


def ranks(count: int) -> pd.DataFrame:
    """What tables.mean_ranks makes."""
    names = ["lora", "ia3", "a-very-long-name-of-a-method that has several settings", "zero-shot"]
    names += [f"icl-{shots}" for shots in range(1, 20)]
    lines = [
        {
            "kind": name.split("-")[0],
            "mean_rank": place + 1.5,
            "low": place + 1.0,
            "high": place + 2.25,
            "benchmarks": 2,
        }
        for place, name in enumerate(names[:count])
    ]
    columns = ["kind", "mean_rank", "low", "high", "benchmarks"]
    frame = pd.DataFrame(lines, index=pd.Index(names[:count], name="method"), columns=columns)
    frame.attrs = {"places": ["a with tiny", "b with tiny"], "left_out": []}
    return frame


def test_every_method_is_said_with_its_interval():
    words = plots.alternative(plots.mean_ranks(ranks(3)))
    assert "lora 1.50 (1.00 to 2.25)" in words
    assert words.count("(") == 3


@pytest.mark.parametrize("count", [1, 2, 4, 20])
def test_nothing_is_cut_off(count):
    figure = plots.mean_ranks(ranks(count))
    (axes,) = figure.axes
    figure.canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    box = axes.get_tightbbox()
    assert 0 <= box.x0 <= box.x1 <= width
    assert 0 <= box.y0 <= box.y1 <= height
    assert len(axes.get_yticklabels()) == count


def test_no_methods_are_said_in_words():
    assert "no method has a result on every benchmark" in plots.alternative(plots.mean_ranks(ranks(0)))
