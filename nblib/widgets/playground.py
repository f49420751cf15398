"""One question, up to four methods: the plain function, and the widget to type and click. Keeps no scores."""

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets

from nblib import models, presets, spec, tasks
from nblib.study.fitting import Base
from nblib.widgets.answers import Answer, compared, first_code, prompts, top
from nblib.widgets.inference import MAX_METHODS, Watch, answer, examples
from nblib.widgets.jobs import CANCELLED, Job, alert, pace, page

__all__ = ["Base", "Playground", "answer", "compared", "examples", "prompts", "show", "top"]

SHOTS = (1, 2, 3, 4, 8)  # that the menus offer
BEAMS = {"greedy, as it streams": 1, "5 beams": 5, "10 beams": 10}
NO_METHOD, OWN_QUESTION = "–", "your own question"
SHOWN_EXAMPLES = 200  # in the menu
STREAM_SECONDS = 0.05  # between two states of a streaming answer: a page draws no more
WRAP = {"flex_flow": "row wrap"}
WIDE = {"width": "95%"}


class Playground:
    """Menus, a question, buttons, and a column for each method. Work runs in a thread; errors are one sentence.

    `data_dir` is where the files of `task` are; another task that is typed in comes from the repository or the Hub.
    """

    def __init__(
        self,
        model: str = "tiny",
        task: Any = "conala-mini",
        *,
        methods: Sequence[str] = ("zero-shot", "icl-3", "rag-3"),
        precision: str = "auto",
        intent: str = "",
        results_dir: str | Path | None = None,
        data_dir: str | Path | None = None,
    ):
        self.given_model, self.given_task, self.results_dir, self.data_dir = model, task, results_dir, data_dir
        self.base, self.job, self.reading = Base(), Job(), Job()
        self.examples: dict[str, str] = {}  # id to intent
        self.read: Any = None  # the task whose examples these are
        self.question = ""  # that is being answered, with the model and the task
        self.labels: list[str] = []  # of the methods that have begun to answer, a column each
        self.streamed = self.begun = 0.0  # when a column was drawn last, and when a training's first step ended
        self._make(list(methods), precision, intent)
        self._connect()
        self._read_examples()

    def _repr_mimebundle_(self, **settings):
        return self.view._repr_mimebundle_(**settings)

    def _make(self, methods: list[str], precision: str, intent: str) -> None:
        menu = ipywidgets.Dropdown
        self.model = _combo_box([*models.embedded_models(), *models.MODELS], self.given_model, "model")
        self.task = _combo_box(list(tasks.TASKS), str(self.given_task), "task")
        self.precision = menu(options=["auto", *spec.PRECISIONS], value=precision, description="precision")
        self.beams = menu(options=list(BEAMS.items()), value=1, description="decoding")
        offered = [(Path(name).name, name) for name in dict.fromkeys([NO_METHOD, *_methods(), *methods])]
        chosen = [*methods, *[NO_METHOD] * MAX_METHODS][:MAX_METHODS]
        self.methods = [
            menu(options=offered, value=name, description=f"method {place}") for place, name in enumerate(chosen, 1)
        ]
        self.example = menu(options=[(OWN_QUESTION, "")], description="example", layout=WIDE)
        hint = "what the code should do"
        self.intent = ipywidgets.Textarea(intent, placeholder=hint, description="intent", layout=WIDE)
        self.ask = ipywidgets.Button(description="Answer", button_style="primary", icon="play")
        self.cancel = ipywidgets.Button(description="Cancel", icon="stop", disabled=True)
        self.status, self.asked, self.summary, self.all = ipywidgets.HTML(), ipywidgets.HTML(), page(), page()
        self.columns = [ipywidgets.HTML(layout={"width": "24%", "min_width": "16em"}) for _ in range(MAX_METHODS)]
        choices, buttons = [self.model, self.task, self.precision, self.beams], [self.ask, self.cancel, self.status]
        rows = [choices, self.methods, [self.example], [self.intent], buttons, [self.asked], self.columns]
        boxes = [ipywidgets.HBox(row, layout=WRAP) for row in rows]
        self.view = ipywidgets.VBox([*boxes, self.summary, self.all])

    def _connect(self) -> None:
        self.ask.on_click(lambda _: self._start())
        self.cancel.on_click(lambda _: self.job.cancel())
        self.task.observe(lambda _: self._read_examples(), "value")
        self.example.observe(lambda _: self._fill_in(), "value")
        self.intent.observe(lambda _: self._edited(), "value")

    # --- the example --------------------------------------------------------------------------------------------------

    def _read_examples(self) -> None:
        """In a thread: a task may have to be downloaded."""
        self.reading.start(self._read, ended=lambda how: setattr(self.status, "value", alert(how)) if how else None)

    def _chosen_task(self) -> tuple[Any, str | Path | None]:
        """The task, and where its files are."""
        typed = self.task.value.strip()
        return (typed, None) if typed not in ("", str(self.given_task)) else (self.given_task, self.data_dir)

    def _read(self) -> None:
        while self.read != (chosen := self._chosen_task()):  # which may have changed meanwhile
            self.read, self.examples = chosen, {}
            self.example.options = [(OWN_QUESTION, "")]
            found = examples(*chosen)[:SHOWN_EXAMPLES]
            self.examples = {example.id: example.intent for example in found}
            named = [(" ".join(example.intent.split())[:120], example.id) for example in found]
            self.example.options = [(OWN_QUESTION, ""), *named]

    def _fill_in(self) -> None:
        """A chosen example's intent stands in the field."""
        if self.example.value:
            self.intent.value = self.examples.get(self.example.value, "")

    def _edited(self) -> None:
        """An intent that was edited is no example any more."""
        if self.example.value and self.intent.value != self.examples.get(self.example.value):
            self.example.value = ""

    # --- the answers --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self.job.running:
            return
        self.labels = []  # earlier answers stay until the first new one
        self.ask.disabled, self.cancel.disabled = True, False  # before the start: it may end at once
        self.job.start(self._answer, ended=self._ended)

    def _answer(self) -> None:
        """In the thread."""
        example, model, (task, data_dir) = self.example.value, self.model.value.strip(), self._chosen_task()
        model = model or self.given_model
        self.question = f"<b>{escape(f'{model}, {task}')}</b>: {escape(self.intent.value)}"
        given = answer(
            model,
            task,
            [menu.value for menu in self.methods if menu.value != NO_METHOD],
            intent="" if example else self.intent.value,
            example=example,
            precision=self.precision.value,
            beams=self.beams.value,
            results_dir=self.results_dir,
            data_dir=data_dir,
            base=self.base,
            watch=Watch(self._progress, self._written, self._answered, self.job.check),
        )
        self.summary.value = compared(given).html
        self.all.value = f"<details><summary>all answers</summary>{top(given).html}</details>" * (self.beams.value > 1)

    def _ended(self, how: str) -> None:
        self.status.value = (how if how == CANCELLED else alert(how)) if how else "Done."
        self.cancel.disabled = True
        self.ask.disabled = False  # last, for what comes next is a click on it

    def _progress(self, text: str, share: float | None) -> None:
        self.begun = (self.begun or time.monotonic()) if share else 0.0
        bar = f'<progress value="{share:.2f}" aria-label="training"></progress>' if share else ""
        told = pace(share, time.monotonic() - self.begun) if share else ""
        self.status.value = f"{bar} {escape(text)}… {told}"

    def _written(self, label: str, text: str) -> None:
        if time.monotonic() - self.streamed > STREAM_SECONDS:
            self._draw(label, text)

    def _answered(self, answer: Answer) -> None:
        self._draw(
            answer.label,
            first_code(answer.prediction) or "(empty)",
            f"{answer.prediction.new_tokens} new tokens, {answer.seconds:.2f} s. {answer.trained}".strip(),
            f"<p>prompt: {answer.tokens} tokens</p>{_folded('the exact prompt', answer.prompt)}"
            f"{_folded(f'{len(answer.shots)} examples in it', answer.examples)}",
        )

    def _draw(self, label: str, code: str, costs: str = "", prompt: str = "") -> None:
        """A method's column: what it was asked, and what it has answered."""
        self.streamed = time.monotonic()
        if not self.labels:  # the first: it takes the place of all that was answered before
            self.asked.value = self.question
            for widget in (*self.columns, self.summary, self.all):
                widget.value = ""
        if label not in self.labels:
            self.labels.append(label)
        self.columns[
            self.labels.index(label)
        ].value = f"<h4>{escape(label)}</h4>{prompt}{_pre(code)}<p><small>{escape(costs)}</small></p>"


def _folded(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary>{_pre(text)}</details>"


def _pre(text: str) -> str:
    return f'<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{escape(text)}</pre>'


def _methods() -> list[str]:
    """Names for the menus: prompts of several lengths, then all that trains."""
    shots = [f"{kind}-{count}" for kind in ("icl", "rag") for count in SHOTS]
    return ["zero-shot", *shots, *presets.trained(presets.get("default")), *spec.QLORA]


def _combo_box(options: list[str], given: str, name: str) -> ipywidgets.Combobox:
    """Known names to choose from, and room for any other text; left empty it stands for what is given.

    Browsers offer only the names that what is in a field is part of: an empty one offers all.
    """
    return ipywidgets.Combobox(options=options, placeholder=given, description=name, continuous_update=False)


show = Playground  # as a cell's last line it appears
