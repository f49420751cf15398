"""A results folder to look around in: plain functions, and the widget to click. Reads rows only, loads no model."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import ipywidgets
import pandas as pd
from matplotlib.figure import Figure

from nblib import plots
from nblib.plots import COSTS
from nblib.tables import Table, paragraph
from nblib.tables.protocol import Example
from nblib.widgets.onerun import differences, predictions, run
from nblib.widgets.points import Points
from nblib.widgets.runs import FILTERS, axes, choices, comparable, front, runs
from nblib.widgets.work import sentence

__all__ = [
    "Explorer",
    "axes",
    "differences",
    "export",
    "figure",
    "front",
    "predictions",
    "run",
    "runs",
    "show",
    "table",
]

ALL, NOBODY = "all", "–"
KINDS = ("csv", "png", "tex")
EXAMPLES = 8  # of a run that the widget shows


def figure(frame: pd.DataFrame, x: str = "train_seconds", y: str = "em@1", *, chosen: str = "") -> Figure:
    """The runs of `runs` over two of their scores and costs, with the Pareto front; the run `chosen` is ringed.

    Raises ValueError for an axis that is none.
    """
    marked = frame.assign(pareto=frame.index.isin(front(frame, x, y)))
    return plots.scatter(marked, x, y, name="label", chosen=chosen)


def table(frame: pd.DataFrame, x: str = "train_seconds", y: str = "em@1") -> Table:
    """The same runs in lines: what they are, both numbers, and whether they are on the front."""
    best = front(frame, x, y)
    lines = [
        {
            "on the front": "●" if id in best else "",
            "method": line["label"],
            **{name: str(line[name]) for name in ("model", "task", "precision", "seed")},
            _head(y): _said(line[y], y),
            _head(x): _said(line[x], x),
            "run": id,
        }
        for id, line in frame.sort_values(y, ascending=y in COSTS, kind="stable").iterrows()
    ]
    if not lines:
        return paragraph("There are no such runs.")
    note = "Runs of several tasks or limits: their scores do not compare, so no front."
    return Table(pd.DataFrame(lines), () if comparable(frame) else (note,), heads={name: name for name in lines[0]})


def export(
    frame: pd.DataFrame,
    x: str,
    y: str,
    *,
    folder: str | Path,
    name: str = "explorer",
    kinds: Sequence[str] = KINDS,
) -> list[Path]:
    """Writes what is shown: all numbers as name.csv, the figure as name.png and name.svg, the table as name.tex.

    Raises ValueError for another kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"a kind of export is one of {', '.join(KINDS)}; got {kind!r}")
    folder, written = Path(folder), []
    if "csv" in kinds:
        written.append(Table(frame).to_csv(folder / f"{name}.csv"))
    if "png" in kinds:
        written += plots.save(figure(frame, x, y), folder, name)
    if "tex" in kinds:
        caption = f"{_head(y)} and {_head(x)}; ● is on the Pareto front."
        written.append(table(frame, x, y).write_latex(folder / f"{name}.tex", caption=caption))
    return written


def show(folder: str | Path, *, examples: Sequence[Example] = ()) -> "Explorer":
    """The widget on a results folder; `examples` (a task's test examples) let it show intents and references."""
    return Explorer(Path(folder), examples)


class Explorer:
    """Filters and axes, the figure, a list of the runs in it, and what is to be known of the one chosen in either."""

    def __init__(self, folder: Path, examples: Sequence[Example]):
        self.folder, self.examples = folder, examples
        self.everything = runs(folder)
        self.frame = self.everything  # what the filters leave
        self._make()
        self._connect()
        self._filter()

    def _repr_mimebundle_(self, **settings):
        return self.view._repr_mimebundle_(**settings)

    def _make(self) -> None:
        menu, there = ipywidgets.Dropdown, axes(self.everything) or ["em@1"]
        self.filters = {
            name: menu(options=[ALL, *choices(self.everything, name)], value=ALL, description=name) for name in FILTERS
        }
        named = [(_head(name), name) for name in there]
        varied = [name for name in there if self.everything[name].nunique() > 1] or there
        self.x = menu(options=named, value=_first(("train_seconds", "prompt_tokens"), varied), description="across")
        self.y = menu(options=named, value=_first(("em@1", "strict_accuracy"), there), description="up")
        self.picture = Points()
        self.hint, self.detail, self.status = (ipywidgets.HTML() for _ in range(3))
        self.chosen = ipywidgets.Select(options=[], rows=8, description="run", layout={"width": "95%"})
        self.other = menu(options=[(NOBODY, "")], description="beside", layout={"width": "95%"})
        self.exports = {kind: ipywidgets.Button(description=kind.upper(), icon="download") for kind in KINDS}
        self.place = ipywidgets.Text(value="exports", description="folder", continuous_update=False)
        self.view = ipywidgets.VBox(
            [
                ipywidgets.HBox([*self.filters.values()], layout={"flex_flow": "row wrap"}),
                ipywidgets.HBox([self.x, self.y], layout={"flex_flow": "row wrap"}),
                self.picture,
                self.hint,
                self.chosen,
                self.other,
                ipywidgets.HBox([*self.exports.values(), self.place, self.status], layout={"flex_flow": "row wrap"}),
                self.detail,
            ]
        )

        if not self.everything.empty:  # of several tasks there would be no front
            self.filters["task"].value = self.everything["task"].mode()[0]

    def _connect(self) -> None:
        for each in self.filters.values():
            each.observe(lambda _: self._filter(), "value")
        for each in (self.x, self.y):
            each.observe(lambda _: self._draw(), "value")
        self.chosen.observe(lambda _: self._choose(), "value")
        self.picture.observe(lambda _: self._clicked(), "chosen")
        self.other.observe(lambda _: self._detail(), "value")
        for kind, button in self.exports.items():
            button.on_click(lambda _, kind=kind: self._export(kind))

    def _filter(self) -> None:
        frame = self.everything
        for name, each in self.filters.items():
            frame = frame if each.value == ALL else frame[frame[name] == each.value]
        self.frame = frame
        listed = [(_line(frame.loc[id], id), id) for id in frame.index]
        kept = self.chosen.value if self.chosen.value in frame.index else None
        self.chosen.options = listed
        self.chosen.value = kept
        self.other.options = [(NOBODY, ""), *listed]
        self._draw()
        self._detail()

    def _choose(self) -> None:
        self._draw()
        self._detail()

    def _clicked(self) -> None:
        """A point of the figure was chosen: the list follows, and with it all else."""
        if self.picture.chosen in self.frame.index:
            self.chosen.value = self.picture.chosen

    def _draw(self) -> None:
        if self.everything.empty:
            self.hint.value = "There are no runs yet: run a notebook, then this cell again."
            return
        chosen = self.chosen.value or ""
        drawn = plots.svg(figure(self.frame, self.x.value, self.y.value, chosen=chosen))
        self.picture.names = {id: _line(self.frame.loc[id], id) for id in self.frame.index}
        with self.picture.hold_sync():
            self.picture.chosen, self.picture.svg = chosen, drawn

    def _detail(self) -> None:
        """The chosen run, and where it differs from the other."""
        one, other = self.chosen.value, self.other.value
        if not one:
            self.detail.value = "Choose a run: its point in the figure, or its line in the list."
            return
        try:
            about = run(self.folder, one)
            if other and other != one:
                shown = differences(self.folder, one, other, examples=self.examples)
            else:
                shown = predictions(self.folder, one, examples=self.examples, count=EXAMPLES)
        except (ValueError, OSError) as error:
            self.detail.value = escape(sentence(error))
            return
        folded = f"<details><summary>settings, scores and costs of {escape(one)}</summary>{about.html}</details>"
        self.detail.value = f"{folded}{shown.html}"

    def _export(self, kind: str) -> None:
        try:
            place = self.folder / self.place.value
            written = export(self.frame, self.x.value, self.y.value, folder=place, kinds=[kind])
            self.status.value = escape(f"wrote {', '.join(each.name for each in written)} to {self.place.value}")
        except (ValueError, OSError) as error:
            self.status.value = escape(sentence(error))


def _first(wanted: Sequence[str], there: Sequence[str]) -> str:
    return next((name for name in wanted if name in there), there[0])


def _head(name: str) -> str:
    """`EM@1 (%)`, `training time (s)`."""
    sign = plots.unit(name)[1]
    return f"{plots.short(name)} ({sign})" if sign else plots.short(name)


def _said(value: float, name: str) -> str:
    return "–" if pd.isna(value) else plots.number(value, name, sign=False)


def _line(line: pd.Series, id: str) -> str:
    """A run in the list."""
    score = next((f": {100 * line[name]:.1f} %" for name in ("em@1", "strict_accuracy") if not pd.isna(line[name])), "")
    return (
        f"{line['label']}, {line['task']}, {line['model']} {line['precision']}, seed {line['seed']}{score} [{id[-4:]}]"
    )
