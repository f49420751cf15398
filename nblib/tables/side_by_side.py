"""A few examples with what each method answered. Scores nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Protocol

import pandas as pd

from nblib.results import Prediction
from nblib.tables.shown import LEFT, Shown

RIGHT, WRONG, UNKNOWN = "✓ right", "✗ wrong", "? not scored"


class Example(Protocol):
    """What is read of nblib.tasks.Example."""

    @property
    def id(self) -> str: ...
    @property
    def intent(self) -> str: ...
    @property
    def code(self) -> str: ...


def side_by_side(
    examples: Sequence[Example], predictions_by_label: Mapping[str, Sequence[Prediction]], count: int = 5
) -> Shown:
    """`count` examples with the reference and each method's first answer, and whether it is right (EM@1).

    Chosen to be instructive, the same each time: about two thirds where methods disagree, each a different pattern of
    right and wrong as long as there are any, the most frequent patterns first; then some that all get wrong; the rest
    is filled from what is left. `frame` has one column a method; the table puts the answers below one another, where
    a difference in a letter can be seen.
    """
    answers = {
        label: {each.example: each for each in predictions} for label, predictions in predictions_by_label.items()
    }
    verdicts = {each.id: tuple(_verdict(known.get(each.id)) for known in answers.values()) for each in examples}
    chosen = _choose(examples, verdicts, count)
    lines = []
    for each in chosen:
        line = {"intent": each.intent, "reference": each.code}
        for label, verdict in zip(answers, verdicts[each.id], strict=True):
            line[label] = f"{verdict}\n{_first(answers[label].get(each.id))}"
        lines.append(line)
    index = pd.Index([each.id for each in chosen], name="example", dtype=object)
    frame = pd.DataFrame(lines, index=index, columns=["intent", "reference", *answers], dtype=object)
    return Shown(frame, _html(frame), _text(frame))


def _verdict(prediction: Prediction | None) -> str:
    score = None if prediction is None else prediction.scores.get("em@1")
    return UNKNOWN if score is None else RIGHT if score == 1 else WRONG


def _first(prediction: Prediction | None) -> str:
    if prediction is None:
        return "(no prediction)"
    return prediction.codes[0] if prediction.codes and prediction.codes[0].strip() else "(empty)"


def _choose(examples: Sequence[Example], verdicts: Mapping[str, tuple[str, ...]], count: int) -> list[Example]:
    differ = [each for each in examples if len(set(verdicts[each.id])) > 1]
    wrong = [each for each in examples if set(verdicts[each.id]) == {WRONG}]
    share = min(len(wrong), max(count // 3, count - len(differ)))
    chosen = _varied(differ, verdicts)[: count - share] + wrong[:share]
    left = [each for each in examples if each not in chosen]
    return chosen + left[: max(0, count - len(chosen))]


def _varied(differ: Sequence[Example], verdicts: Mapping[str, tuple[str, ...]]) -> list[Example]:
    """The first example of each pattern, frequent patterns first; then the second of each, and so on."""
    frequency = Counter(verdicts[each.id] for each in differ)
    seen: Counter = Counter()
    keyed = []
    for place, each in enumerate(differ):
        pattern = verdicts[each.id]
        keyed.append((seen[pattern], -frequency[pattern], place))
        seen[pattern] += 1
    return [differ[place] for _, _, place in sorted(keyed)]


def _html(frame: pd.DataFrame) -> str:
    blocks = []
    for _, row in frame.iterrows():
        blocks.append(f'<tr><th colspan="3" {LEFT}>{escape(row["intent"])}</th></tr>')
        blocks.append(_answer_row("reference", "", row["reference"]))
        for label in frame.columns[2:]:
            verdict, _, code = row[label].partition("\n")
            blocks.append(_answer_row(label, verdict, code))
    return "<table>\n<tbody>\n" + "\n".join(blocks) + "\n</tbody>\n</table>"


def _answer_row(label: str, verdict: str, code: str) -> str:
    """Spaces at the start of a line and line ends are kept, without <pre>, whose margins would stretch the row."""
    lines = [line.lstrip(" ") for line in code.split("\n")]
    indents = [len(line) - len(bare) for line, bare in zip(code.split("\n"), lines, strict=True)]
    kept = "<br>".join("&nbsp;" * indent + escape(bare) for indent, bare in zip(indents, lines, strict=True))
    return (
        f'<tr><th scope="row" {LEFT}>{escape(label)}</th><td {LEFT}>{verdict}</td>'
        f"<td {LEFT}><code>{kept}</code></td></tr>"
    )


def _text(frame: pd.DataFrame) -> str:
    width = max((len(label) for label in [*frame.columns[2:], "reference"]), default=0)
    blocks = []
    for _, row in frame.iterrows():
        lines = [row["intent"], _indented("reference", "", row["reference"], width)]
        for label in frame.columns[2:]:
            verdict, _, code = row[label].partition("\n")
            lines.append(_indented(label, verdict, code, width))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _indented(label: str, verdict: str, code: str, width: int) -> str:
    start = f"  {label:<{width}}  {verdict:<{len(UNKNOWN)}}  "
    return start + code.replace("\n", "\n" + " " * len(start))
