"""A results folder to look around in: plain functions, and the widget to click. Reads rows only, loads no model."""

from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import anywidget
import ipywidgets
import pandas as pd
import traitlets
from matplotlib.figure import Figure

from nblib import plots, results, stats
from nblib.columns import COSTS, SCORES, head
from nblib.plots import NOTHING_FOR_PROMPTS
from nblib.tables import Table, names, paragraph
from nblib.tables.protocol import Example
from nblib.widgets.answers import differences, predictions, run
from nblib.widgets.jobs import alert, page, sentence

__all__ = ["Explorer", "differences", "export", "figure", "front", "predictions", "run", "runs", "show", "table"]

FILTERS = ("model", "task", "method", "precision")
COMPARABLE = ("task", "limit")  # scores of runs that differ in these do not compare
ALL, NOBODY = "all", "(no other run)"
NO_RUNS = "There are no runs yet: run a notebook, then this cell again."
NONE_LEFT = "No run passes all filters: set one of them to all."
CHOOSE = "Choose a run: its point in the figure, or its line in the list."
KINDS = ("csv", "png", "svg", "tex")
EXAMPLES = 8  # of a run that the widget shows
WRAP, WIDE = {"flex_flow": "row wrap"}, {"width": "95%"}


def runs(folder: str | Path, *, model: str = "", task: str = "", method: str = "", precision: str = "") -> pd.DataFrame:
    """The runs of a results folder that ended well and answered a test split, one line each, indexed by their ids.

    A filter that is empty lets all pass; `method` is a kind, such as `rag`. Columns: `label` (with the settings in
    which runs of one method differ), `kind`, `family`, `model`, `task`, `precision`, `seed`, `limit`, then scores as
    shares and costs in bytes, seconds and tokens. Runs of a search or with random weights are left out.
    """
    frame = results.load(folder, quiet=True).runs
    shown = (frame["status"] == results.OK) & (frame["split"] == "test") & ~frame["shape_only"].astype(bool)
    frame = frame[shown].assign(method=[settings["method"]["kind"] for settings in frame.loc[shown, "settings"]])
    for name, value in zip(FILTERS, (model, task, method, precision), strict=True):
        frame = frame[frame[name] == value] if value else frame
    labels = names(list(frame["settings"]), leaving=("learning_rate", "dropout"))
    labels = pd.Series(labels, frame.index, dtype=object).str.replace("precision=", "")  # its value says what it is
    elsewhere = frame["trained_on"].notna() & (frame["trained_on"].astype(object) != frame["task"].astype(object))
    frame = frame.assign(label=labels.mask(elsewhere, labels + ", from " + frame["trained_on"].astype(str)))
    frame = frame.reindex(columns=["label", "kind", "family", *FILTERS, "seed", "limit", *SCORES, *COSTS])
    frame.loc[frame["family"].isin(("zero-shot", "ICL", "RAG")), [*NOTHING_FOR_PROMPTS]] = 0.0
    return frame.sort_values(["task", "model", "label", "seed"], kind="stable")


def front(frame: pd.DataFrame, x: str, y: str) -> list[str]:
    """The runs that no other beats: none is as good in both and better in one. From left to right.

    More is better of a score, less of a cost. Empty where scores do not compare: of several tasks, or where only some
    runs are limited to the first examples.
    Raises ValueError for a column that is no score and no cost.
    """
    for name in (x, y):
        if name not in SCORES and name not in COSTS:
            raise ValueError(f"an axis must be one of {', '.join((*SCORES, *COSTS))}; got {name!r}")
    if not _is_comparable(frame):
        return []
    signs = [1 if name in SCORES else -1 for name in (x, y)]
    points = frame[[x, y]].astype(float)
    found = points[stats.front((points * signs).to_numpy())]
    return list(found.sort_values([x, y]).index)


def figure(frame: pd.DataFrame, x: str = "train_seconds", y: str = "em@1", *, chosen: str = "") -> Figure:
    """The runs of `runs` over two of their scores and costs, with the Pareto front; the run `chosen` is ringed.

    Raises ValueError for an axis that is none.
    """
    pareto = frame.assign(pareto=frame.index.isin(front(frame, x, y)))
    return plots.scatter(pareto, x, y, name="label", chosen=chosen)


def table(frame: pd.DataFrame, x: str = "train_seconds", y: str = "em@1") -> Table:
    """The same runs in lines: what they are, both numbers, and whether they are on the front."""
    if frame.empty:
        return paragraph("There are no such runs.")
    lines = frame.sort_values(y, ascending=y in COSTS, kind="stable").rename_axis("run").reset_index()
    lines["on the front"] = lines["run"].isin(front(frame, x, y))
    varied = [name for name in ("model", "task") if frame[name].nunique() > 1]
    wide = ("on the front", "label", "model", "task", "precision", "seed", y, x, "run")
    columns = ("on the front", "label", *varied, "seed", y, x)
    note = "Runs of several tasks or limits: their scores do not compare, so no front."
    notes = () if _is_comparable(frame) else (note,)
    return Table(lines, notes, columns=columns, wide=wide, heads={"label": "method"})


def export(
    frame: pd.DataFrame, x: str, y: str, *, folder: str | Path, name: str = "explorer", kinds: Sequence[str] = KINDS
) -> list[Path]:
    """Writes what is shown: all numbers as name.csv, the figure as name.png with name.svg, the table as name.tex.

    Raises ValueError for another kind.
    """
    folder, written = Path(folder), []
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"a kind of export is one of {', '.join(KINDS)}; got {unknown.pop()!r}")
    if "csv" in kinds:
        written.append(Table(frame).to_csv(folder / f"{name}.csv"))
    if {"png", "svg"} & set(kinds):
        written += plots.save(figure(frame, x, y), folder, name)
    if "tex" in kinds:
        caption = f"{head(y)} and {head(x)}; ● is on the Pareto front."
        written.append(table(frame, x, y).write_latex(folder / f"{name}.tex", caption=caption))
    return written


def _is_comparable(frame: pd.DataFrame) -> bool:
    """Whether scores of these runs may be held against one another."""
    return all(frame[name].nunique(dropna=False) <= 1 for name in COMPARABLE)


# --- the widget -----------------------------------------------------------------------------------------------------


class ClickableFigure(anywidget.AnyWidget):
    """A house figure as SVG whose points have the ids of runs; a click on one chooses its run."""

    _esm = Path(__file__).with_name("clickable.js")
    _css = """
    .nblib-points svg { max-width: 100%; height: auto; }
    .nblib-points [id^="run:"] { cursor: pointer; pointer-events: bounding-box; }
    .nblib-points [id^="run:"]:focus-visible { outline: 2px solid #3B9BD6; outline-offset: 2px; }
    """
    svg = traitlets.Unicode("").tag(sync=True)  # empty: nothing is shown
    names = traitlets.Dict().tag(sync=True)  # by run: what is said while the mouse is over its point
    chosen = traitlets.Unicode("").tag(sync=True)  # a run; empty: none


class Explorer:
    """Filters and axes, the figure, a list of the runs in it, and what is to be known of the one chosen in either.

    It opens on a task and two axes; empty: those that have most to show. `examples`, the task's test examples, let it
    show the intents and references of its runs.
    """

    def __init__(
        self, folder: str | Path, *, task: str = "", x: str = "", y: str = "", examples: Sequence[Example] = ()
    ):
        self.folder, self.task, self.examples = Path(folder), task, examples
        self.everything = runs(folder)
        self.frame = self.everything  # what the filters leave
        self._make(x, y)
        self._connect()
        self._filter()

    def _repr_mimebundle_(self, **settings):
        return self.view._repr_mimebundle_(**settings)

    def _make(self, x: str, y: str) -> None:
        menu, everything = ipywidgets.Dropdown, self.everything
        self.filters = {
            name: menu(options=[ALL, *sorted(set(everything[name]))], value=ALL, description=name) for name in FILTERS
        }
        axes = [name for name in (*SCORES, *COSTS) if everything[name].notna().any()] or ["em@1"]
        named, varied = [(head(name), name) for name in axes], [name for name in axes if everything[name].nunique() > 1]
        usual = _first("train_seconds", "prompt_tokens", *axes, of=varied or axes)
        self.x = menu(options=named, value=_first(x, usual, of=axes), description="x")
        self.y = menu(options=named, value=_first(y, "em@1", "strict_accuracy", *axes, of=axes), description="y")
        self.picture = ClickableFigure()
        self.hint, self.detail, self.status = ipywidgets.HTML(), page(), ipywidgets.HTML()
        self.chosen = ipywidgets.Select(options=[], rows=8, description="run", layout=WIDE)
        self.other = menu(options=[(NOBODY, "")], description="compare", layout=WIDE)
        self.downloads = {kind: ipywidgets.Button(description=kind.upper(), icon="download") for kind in KINDS}
        menus = [*self.filters.values()], [self.x, self.y], [*self.downloads.values(), self.status]
        filters, numbers, files = (ipywidgets.HBox(row, layout=WRAP) for row in menus)
        shown = [filters, numbers, self.picture, self.hint, self.chosen, self.other, files, self.detail]
        self.view = ipywidgets.VBox(shown)
        if not everything.empty:  # of several tasks there would be no front
            self.filters["task"].value = _first(self.task, everything["task"].mode()[0], of=set(everything["task"]))

    def _connect(self) -> None:
        for menu in self.filters.values():
            menu.observe(lambda _: self._filter(), "value")
        for menu in (self.x, self.y):
            menu.observe(lambda _: self._draw(), "value")
        self.chosen.observe(lambda _: self._choose(), "value")
        self.picture.observe(lambda _: self._clicked(), "chosen")
        self.other.observe(lambda _: self._show_details(), "value")
        for kind, button in self.downloads.items():
            button.on_click(lambda _, kind=kind: self._download(kind))

    def _filter(self) -> None:
        frame = self.everything
        for name, menu in self.filters.items():
            frame = frame if menu.value == ALL else frame[frame[name] == menu.value]
        self.frame = frame
        listed = [(_line(row), id) for id, row in frame.iterrows()]
        kept = self.chosen.value if self.chosen.value in frame.index else None
        self.chosen.options = listed
        self.chosen.value = kept
        self.other.options = [(NOBODY, ""), *listed]
        self._choose()

    def _choose(self) -> None:
        self._draw()
        self._show_details()

    def _clicked(self) -> None:
        """A point of the figure was chosen: the list follows, and with it all else."""
        if self.picture.chosen in self.frame.index:
            self.chosen.value = self.picture.chosen

    def _draw(self) -> None:
        chosen, empty = self.chosen.value or "", self.frame.empty
        drawn = "" if empty else plots.svg(figure(self.frame, self.x.value, self.y.value, chosen=chosen))
        self.picture.names = {id: _line(row) for id, row in self.frame.iterrows()}
        with self.picture.hold_sync():
            self.picture.chosen, self.picture.svg = chosen, drawn

    def _show_details(self) -> None:
        """The chosen run, and where it differs from the other; or what to do."""
        hint = NO_RUNS if self.everything.empty else NONE_LEFT if self.frame.empty else CHOOSE
        self.hint.value = "" if (one := self.chosen.value) else f"<b>{hint}</b>"
        try:
            self.detail.value = self._details(one, self.other.value) if one else ""
        except (ValueError, OSError) as error:
            self.detail.value = alert(sentence(error))

    def _details(self, one: str, other: str) -> str:
        about, known = run(self.folder, one), self.examples if self.frame.loc[one, "task"] == self.task else ()
        if other and other != one:
            shown = differences(self.folder, one, other, examples=known)
        else:
            shown = predictions(self.folder, one, examples=known, count=EXAMPLES)
        folded = f"<details><summary>settings, scores and costs of {escape(one)}</summary>{about.html}</details>"
        return f"{folded}{shown.html}"

    def _download(self, kind: str) -> None:
        """Hands the browser a file of what is shown."""
        with TemporaryDirectory() as folder:
            written = export(self.frame, self.x.value, self.y.value, folder=folder, kinds=[kind])
            (path,) = [path for path in written if path.suffix == f".{kind}"]
            self.picture.send({"name": path.name}, [path.read_bytes()])
        self.status.value = f"Your browser has {path.name}."


def _first(*wanted: str, of: Collection[str]) -> str:
    return next(name for name in wanted if name in of)


def _line(row: pd.Series) -> str:
    """A run in the list."""
    score = next((f": {100 * row[name]:.1f} %" for name in ("em@1", "strict_accuracy") if not pd.isna(row[name])), "")
    settings = f"{row['label']}, {row['task']}, {row['model']} {row['precision']}, seed {row['seed']}"
    return f"{settings}{score} [{str(row.name)[-4:]}]"


show = Explorer  # as a cell's last line it appears
