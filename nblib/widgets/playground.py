"""One question, up to four methods: the plain function, and the widget to type and click. Keeps no scores."""

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

import ipywidgets

from nblib import models, presets, spec, tasks
from nblib.widgets import answers
from nblib.widgets.answers import Answer, Answers, Asked, compared, prompts, top
from nblib.widgets.asking import MOST_METHODS, Bench, Choice, Watch, choose, default_store, examples
from nblib.widgets.differences import as_code, code
from nblib.widgets.work import Work

__all__ = ["Bench", "Playground", "answer", "compared", "examples", "prompts", "show", "top"]

SHOTS = (1, 2, 3, 4, 8)  # that the menus offer
BEAMS = {"greedy, as it streams": 1, "5 beams": 5, "10 beams": 10}
NO_METHOD, OWN_QUESTION = "–", "your own question"
SHOWN_EXAMPLES = 200  # in the menu
STREAM_SECONDS = 0.05  # between two states of a streaming answer: a page draws no more
ROW = ipywidgets.Layout(flex_flow="row wrap")


def answer(
    model: str,
    task: str,
    methods: Sequence[str],
    *,
    intent: str = "",
    example: str = "",
    precision: str = "auto",
    beams: int = 1,
    preset: str = "default",
    seed: int = 42,
    results_dir: str | Path | None = None,
    data_dir: str | Path | None = None,
    bench: Bench | None = None,
    watch: Watch | None = None,
) -> Answers:
    """What up to four methods answer to one question: an intent of your own, or the id of a test example.

    `methods` are `zero-shot`, `icl-3`, `rag-3` (any number of shots), or names of methods that train. A trained one
    takes the adapter that a run left in `results_dir`, else it is trained for one epoch and kept there. Prompts,
    shots and decoding are the study's; `beams` are as many answers, 1 is greedy. `bench` keeps the model for the next
    question.
    Raises ValueError and others in one sentence before any work, MemoryError where memory does not suffice.
    """
    choice = Choice(model, task, tuple(methods), precision, beams, preset, seed, str(data_dir) if data_dir else None)
    return (bench or Bench()).answer(
        choice,
        intent=intent,
        example=example,
        store=Path(results_dir or default_store()),
        watch=watch or Watch(),
    )


def show(
    model: str = "tiny",
    task: str = "conala-mini",
    *,
    methods: Sequence[str] = ("zero-shot", "icl-3", "rag-3"),
    precision: str = "auto",
    results_dir: str | Path | None = None,
    data_dir: str | Path | None = None,
) -> "Playground":
    """The widget, with these things chosen; as a cell's last line it appears."""
    return Playground(model, task, methods=methods, precision=precision, results_dir=results_dir, data_dir=data_dir)


class Playground:
    """Menus, a question, buttons, and a column for each method. Work runs in a thread; errors are one sentence."""

    def __init__(
        self,
        model: str,
        task: str,
        *,
        methods: Sequence[str],
        precision: str,
        results_dir: str | Path | None,
        data_dir: str | Path | None,
    ):
        self.store, self.data_dir = Path(results_dir or default_store()), data_dir
        self.bench, self.work, self.reading = Bench(), Work(), Work()
        self.examples: dict[str, str] = {}  # id to intent
        self.read: str | None = None  # the task whose examples these are
        self.texts: dict[str, tuple[Asked, str]] = {}  # by method: what is asked, what was answered so far
        self.streamed = 0.0  # when a column was drawn last
        self._make(model, task, list(methods), precision)
        self._connect()
        self._read_examples()

    def _repr_mimebundle_(self, **settings):
        return self.view._repr_mimebundle_(**settings)

    def _make(self, model: str, task: str, methods: list[str], precision: str) -> None:
        menu = ipywidgets.Dropdown
        self.model = _text_menu([*models.embedded_models(), *models.MODELS], model, "model")
        self.task = _text_menu(list(tasks.TASKS), task, "task")
        self.precision = menu(options=["auto", *spec.PRECISIONS], value=precision, description="precision")
        self.beams = menu(options=list(BEAMS.items()), value=1, description="decoding")
        offered = [NO_METHOD, *dict.fromkeys([*_methods(), *methods])]
        chosen = [*methods, *[NO_METHOD] * MOST_METHODS][:MOST_METHODS]
        self.methods = [
            menu(options=offered, value=each, description=f"method {place}") for place, each in enumerate(chosen, 1)
        ]
        self.example = menu(options=[(OWN_QUESTION, "")], description="example", layout={"width": "95%"})
        self.intent = ipywidgets.Textarea(
            placeholder="what the code should do", description="intent", layout={"width": "95%"}
        )
        self.ask = ipywidgets.Button(description="Answer", button_style="primary", icon="play")
        self.cancel = ipywidgets.Button(description="Cancel", icon="stop", disabled=True)
        self.status, self.summary, self.all = (ipywidgets.HTML() for _ in range(3))
        self.columns = [ipywidgets.HTML(layout={"width": "24%", "min_width": "16em"}) for _ in range(MOST_METHODS)]
        rows = [
            [self.model, self.task, self.precision, self.beams],
            self.methods,
            [self.example],
            [self.intent],
            [self.ask, self.cancel, self.status],
            self.columns,
        ]
        boxes = [ipywidgets.HBox(row, layout=ROW) for row in rows]
        self.view = ipywidgets.VBox([*boxes, self.summary, self.all])

    def _connect(self) -> None:
        self.ask.on_click(lambda _: self._start())
        self.cancel.on_click(lambda _: self.work.cancel())
        self.task.observe(lambda _: self._read_examples(), "value")
        self.example.observe(lambda _: self._fill_in(), "value")
        self.intent.observe(lambda _: self._edited(), "value")

    # --- the example --------------------------------------------------------------------------------------------------

    def _read_examples(self) -> None:
        """In a thread: a task may have to be downloaded."""
        self.reading.start(self._read, ended=lambda said: self._say(said) if said else None)

    def _read(self) -> None:
        while self.read != (task := self.task.value):  # which may have changed meanwhile
            self.read, self.examples = task, {}
            self.example.options = [(OWN_QUESTION, "")]
            found = examples(task, self.data_dir)[:SHOWN_EXAMPLES]
            self.examples = {each.id: each.intent for each in found}
            named = [(" ".join(each.intent.split())[:120], each.id) for each in found]
            self.example.options = [(OWN_QUESTION, ""), *named]

    def _fill_in(self) -> None:
        if self.example.value:
            self.intent.value = self.examples.get(self.example.value, "")

    def _edited(self) -> None:
        """An intent that was edited is no example any more."""
        if self.example.value and self.intent.value != self.examples.get(self.example.value):
            self.example.value = ""

    # --- the answers --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self.work.running:
            return
        self.texts = {}
        for each in (*self.columns, self.summary, self.all):
            each.value = ""
        self.ask.disabled, self.cancel.disabled = True, False  # before the start: it may end at once
        self.work.start(self._answer, ended=self._ended)

    def _answer(self) -> None:
        """In the thread."""
        example = self.example.value
        given = answer(
            self.model.value.strip(),
            self.task.value.strip(),
            choose([each.value.replace(NO_METHOD, "") for each in self.methods]),
            intent="" if example else self.intent.value,
            example=example,
            precision=self.precision.value,
            beams=self.beams.value,
            results_dir=self.store,
            data_dir=self.data_dir,
            bench=self.bench,
            watch=Watch(self._progress, self._asked, self._written, self._answered, self.work.check),
        )
        self.summary.value = compared(given).html
        self.all.value = f"<details><summary>all answers</summary>{top(given).html}</details>" * (self.beams.value > 1)

    def _ended(self, said: str) -> None:
        self._say(said or "Done.")
        self.cancel.disabled = True
        self.ask.disabled = False  # last, for what comes next is a click on it

    def _say(self, text: str) -> None:
        self.status.value = escape(text)

    def _progress(self, text: str, share: float | None) -> None:
        bar = "" if share is None else f'<progress value="{share:.2f}"></progress> '
        self.status.value = f"{bar}{escape(text)}…"

    def _asked(self, asked: Asked) -> None:
        self.texts[asked.label] = asked, ""
        self._draw(asked, "…")

    def _written(self, label: str, text: str) -> None:
        asked = self.texts[label][0]
        self.texts[label] = asked, text
        if time.monotonic() - self.streamed > STREAM_SECONDS:
            self._draw(asked, text)

    def _answered(self, answer: Answer) -> None:
        first = answer.prediction.codes[0] or "(empty)"
        self.texts[answer.asked.label] = answer.asked, first
        told = f"{answer.prediction.new_tokens} new tokens, {answer.seconds:.2f} s"
        self._draw(answer.asked, first, f"{told}. {answer.trained}".strip())

    def _draw(self, asked: Asked, text: str, told: str = "") -> None:
        """A method's column: what it is asked, and what it has answered."""
        self.streamed = time.monotonic()
        place = list(self.texts).index(asked.label)
        seen = f'<pre style="white-space: pre-wrap">{escape(asked.prompt)}</pre>'
        self.columns[place].value = (
            f"<h4>{escape(asked.label)}</h4><p>prompt: {answers.tokens(asked)} tokens</p>"
            f"<details><summary>the exact prompt</summary>{seen}</details>"
            f"<details><summary>{len(asked.shots)} examples in it</summary>"
            f"{escape(answers.shots(asked)).replace(chr(10), '<br>')}</details>"
            f"<p>{as_code(code(text))}</p><p><small>{escape(told)}</small></p>"
        )


def _methods() -> list[str]:
    """Names for the menus: prompts of several lengths, then all that trains."""
    shots = [f"{kind}-{count}" for kind in ("icl", "rag") for count in SHOTS]
    return ["zero-shot", *shots, *presets.trained(presets.get("default")), *spec.QLORA]


def _text_menu(options: list[str], value: str, name: str) -> ipywidgets.Combobox:
    """A menu that takes any other text as well."""
    return ipywidgets.Combobox(
        options=options, value=value, description=name, ensure_option=False, continuous_update=False
    )
