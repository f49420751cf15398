"""What stands around and behind the scores: plan, data, fairness, examples, provenance, two stores."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd

from nblib import results, spec, stats
from nblib.results import Prediction
from nblib.spec import Run, Training
from nblib.tables.labels import names
from nblib.tables.show import SAID, SCORES, Table, paragraph

RIGHT, WRONG, UNKNOWN = "✓ right", "✗ wrong", "? not scored"
ORIGIN = ("commit", "clean", "device", "device_name", "threads", "processes", "data", "weights", "python", "system")
MARKS = {"limit": "partial", "shape_only": "shape only"}
LEAKS = "A test row whose intent is in the train split is answered from memory: scores on it are too high."
UNSEEN = (
    "What a base model read before it came here cannot be seen from these files: public benchmarks may be part of "
    "its training data. The sample tasks are generated, and no model but the embedded one was trained on them."
)
PLACES = ("data_dir",)  # where something lay when the run was made, which changes no result


class Example(Protocol):
    """What is read of nblib.tasks.Example."""

    @property
    def id(self) -> str: ...
    @property
    def intent(self) -> str: ...
    @property
    def code(self) -> str: ...


def plan(runs: Sequence[Run], done: Sequence[bool], costs: Sequence | None = None) -> Table:
    """One line a method: its settings, its seeds, and how many of its runs are done already.

    With `costs`, what `study.costs` says of each run, also the minutes that its other runs will take and their memory.
    """
    lines: dict[str, dict] = {}
    for place, (run, ended) in enumerate(zip(runs, done, strict=True)):
        label = spec.label(run.method, run.precision)
        line = lines.setdefault(
            label, {"method": label, "settings": _settings(run), "seeds": [], "done": [], "costs": []}
        )
        line["seeds"].append(str(run.seed))
        line["done"].append(ended)
        line["costs"] += [costs[place]] if costs is not None else []
    shown = [
        {"method": line["method"], "settings": line["settings"], "seeds of its runs": ", ".join(line["seeds"])}
        | {"done": f"{sum(line['done'])} of {len(line['done'])}"}
        | (_cost(line["costs"]) if costs is not None else {})
        for line in lines.values()
    ]
    notes = [] if costs is None else [_remaining(costs)]
    trained = [_training(run.training) for run in runs if run.training][:1]
    return Table(pd.DataFrame(shown), (*notes, _decoding(runs[0]), *trained))


def examples(shown: Sequence[Example]) -> Table:
    """Intent and code of some examples."""
    lines = [{"id": each.id, "intent": each.intent, "code": each.code} for each in shown]
    return Table(pd.DataFrame(lines), code=("code",))


def data_checks(checks: Mapping) -> Table:
    """What is in a task's data, one line a split; `checks` is `tasks.checks` as plain values."""
    frame = pd.DataFrame(checks["splits"])
    for name in ("intent_tokens", "code_tokens"):
        frame[name] = [None if each is None else ", ".join(f"{count:,}" for count in each) for each in frame[name]]
    notes = ["Tokens: median, 90 %, 99 %, longest."]
    notes += [
        f"{' and '.join(each['splits'])} share {each['exact']} intents letter for letter, {each['normalized']} up to "
        f"case, spacing and quotes, {each['near']} nearly."
        for each in checks["overlaps"]
    ]
    if checks["rows_left_out"]:
        notes.append(f"{checks['rows_left_out']} rows without code are left out.")
    if checks["known_intents"]:
        known = checks["known_intents"]
        notes.append(f"{known} test rows are left out because another task trains on their intent.")
    notes += checks.get("remarks", ())
    return Table(frame, tuple(notes), heads={"rows_too_long": "too long to train on"})


def layers(isolation: Mapping[str, bool]) -> Table:
    """What keeps untrusted programs in, on this machine."""
    return Table(pd.DataFrame([{"layer": name, "here": SAID[here]} for name, here in isolation.items()]))


def failure(found) -> Table:
    """A program that fails and the test that it fails, below one another; None: there is none."""
    if found is None:
        return paragraph("Every first answer passes all its tests.")
    told = {"problem": found.intent, "program": found.program, "test": found.test, "expected": found.expected}
    told |= {"got": found.got, "so it is": found.verdict.replace("_", " ")}
    return Table(pd.DataFrame([{"what": name, "text": text} for name, text in told.items()]), code=("text",))


def fairness(runs: pd.DataFrame, answers: pd.DataFrame) -> Table:
    """What must be equal over methods for their scores to compare, and whether it is."""
    well = runs[runs["status"] == results.OK]
    asked = answers.groupby("run", observed=True)["example"].agg(lambda ids: str(list(ids))).reindex(well.index)
    checks = {
        "same data": runs["data"],
        "same base model": runs["weights"],
        "same precision, but for QLoRA": runs.loc[~runs["kind"].isin(spec.QLORA), "precision"],
        "same decoding": runs["settings"].map(lambda settings: str(settings["decoding"])),
        "same training, but for the learning rate": runs["training"].dropna(),
        "same test examples": asked,
        "same versions of the packages": runs["provenance"].map(lambda origin: str(origin.get("packages"))),
    }
    kinds = {name: found.nunique(dropna=False) for name, found in checks.items()}
    answer = {name: "yes" if count <= 1 else f"no: {count} kinds" for name, count in kinds.items()}
    dropped = sum(notes.get("queries_with_dropped_shots", 0) > 0 for notes in runs["notes"])
    answer["every run ended well"] = "yes" if len(well) == len(runs) else f"no: {len(well)} of {len(runs)}"
    answer["every shot fitted the context"] = f"no: not in {dropped} runs" if dropped else "yes"
    answer["no test intent is in the training rows"] = f"no: {leaks}" if (leaks := leaked(runs)) else "yes"
    return Table(pd.DataFrame([{"check": name, "answer": said} for name, said in answer.items()]))


def leaked(runs: pd.DataFrame) -> str:
    """How many test intents are also in the training rows: `5 of 40, 2 of them exactly`; empty: none is known of."""
    asked = runs[(runs["split"] == "test") & ~runs["shape_only"].astype(bool)]
    found = [line for notes in asked["notes"] for line in _overlaps(notes.get("data_checks") or {"overlaps": ()})]
    shared = [line for line in found if line["splits"] == "train and test"]
    most = max(shared, key=lambda line: line["near"], default={"near": 0})
    return f"{most['near']} of {most['test_rows']}, {most['normalized']} of them exactly" if most["near"] else ""


def provenance(runs: pd.DataFrame) -> Table:
    """Code, versions and machine behind the runs; differing values are all named."""
    flat = [{**origin, **(origin.get("packages") or {})} for origin in runs["provenance"]]
    known = [name for name in flat[0] if name != "packages"] if flat else []
    lines = [{"what": name, "value": ", ".join(sorted({str(each.get(name)) for each in flat}))} for name in known]
    return Table(pd.DataFrame(lines))


def appendix(runs: pd.DataFrame) -> Table:
    """One line a run, by id: every number of the report is a mean over lines of one model, task and method.

    `model`, `task`, `trained_on`, `method`, `precision`, `seed`, `split`, `status`, `em@1` and `strict_accuracy`,
    `marks` (partial, shape only), where it came from (commit, machine, content of data and weights), and each
    package's version. What all lines share stands once below the table.
    """
    runs = runs.sort_index()
    columns = ["model", "task", "trained_on", "precision", "seed", "split", "status", "em@1", "strict_accuracy"]
    frame = runs.reindex(columns=columns).rename_axis("id").reset_index()
    frame.insert(3, "method", names(list(runs["settings"])))
    frame["marks"] = [
        ", ".join(said for name, said in MARKS.items() if settings.get(name)) or None for settings in runs["settings"]
    ]
    origin = [{name: each.get(name) for name in ORIGIN} | (each.get("packages") or {}) for each in runs["provenance"]]
    behind = pd.DataFrame(origin, index=frame.index)
    shared = {name: behind[name].iloc[0] for name in behind if behind[name].astype(str).nunique() == 1}
    note = "The same for all: " + ", ".join(f"{name} {each}" for name, each in shared.items()) + "."
    differing = [name for name in behind if name not in shared]
    scores = [name for name in ("em@1", "strict_accuracy") if frame[name].notna().any()]
    shown = ("id", "status", *scores, "marks", *differing)
    return Table(frame.join(behind), (note if len(frame) else "There are no runs.",), columns=shown)


def skipped(problems: Mapping[str, str]) -> Table:
    """Files that stand in the folder and in no number: `problems` of nblib.results."""
    lines = [{"file": name, "why": why} for name, why in sorted(problems.items())]
    said = "These files are in no table above. Make them again, or restore them."
    return Table(pd.DataFrame(lines), (said if lines else "Every file of the folder is whole, and as it was written.",))


def leakage(runs: pd.DataFrame) -> Table:
    """One line a task, what was trained on, and pair of splits, from the checks that runs made of their data.

    `exact`, `normalized` and `near` count the intents that both splits have; `test_rows` the test split's rows;
    `known_intents` the test rows that were left out because another task trains on them. A task whose runs kept no
    checks has one line with nothing in it.
    """
    asked = runs[(runs["split"] == "test") & ~runs["shape_only"].astype(bool)].sort_index()
    lines: dict[str, dict] = {}
    for _, run in asked.iterrows():
        whose = {"task": run["task"], "trained_on": run["settings"].get("train_task") or run["task"]}
        checks = run["notes"].get("data_checks")
        for line in [{}] if checks is None else _overlaps(checks):
            lines.setdefault(json.dumps(whose | line, sort_keys=True), whose | line)
    told = {(line["task"], line["trained_on"]) for line in lines.values() if len(line) > 2}
    kept = [line for line in lines.values() if len(line) > 2 or (line["task"], line["trained_on"]) not in told]
    order = ["task", "trained_on", "splits"]
    frame = pd.DataFrame(kept, columns=[*order, "exact", "normalized", "near", "test_rows", "known_intents"])
    frame = frame.sort_values(order, kind="stable", ignore_index=True)
    said = [
        "not checked" if pd.isna(row["splits"]) else "leaks" if row["normalized"] else _near(row)
        for _, row in frame.iterrows()
    ]
    heads = {"task": "asked", "exact": "same intents", "normalized": "same up to case, spacing, quotes"}
    heads |= {"near": "nearly the same", "known_intents": "test rows left out", "so": "so it is"}
    return Table(frame.assign(so=said), (LEAKS, UNSEEN), heads=heads)


def side_by_side(
    examples: Sequence[Example], predictions_by_label: Mapping[str, Sequence[Prediction]], count: int = 5
) -> Table:
    """`count` examples with the reference and each method's first answer, and whether it is right (EM@1).

    Chosen to be instructive, the same each time: about two thirds where methods disagree, each a different pattern of
    right and wrong as long as there are any, the most frequent patterns first; then some that all get wrong; the rest
    is filled from what is left. Answers stand below one another, where a difference in a letter can be seen.
    """
    answers = {
        label: {each.example: each for each in predictions} for label, predictions in predictions_by_label.items()
    }
    verdicts = {each.id: tuple(_verdict(known.get(each.id)) for known in answers.values()) for each in examples}
    lines = []
    for each in _choose(examples, verdicts, count):
        same = {"example": each.id, "intent": each.intent}
        lines.append(same | {"of": "reference", "answer": each.code})
        for label, verdict in zip(answers, verdicts[each.id], strict=True):
            lines.append(same | {"of": label, "verdict": verdict, "answer": _first(answers[label].get(each.id))})
    frame = pd.DataFrame(lines, columns=["example", "intent", "of", "verdict", "answer"])
    frame["verdict"] = frame["verdict"].fillna("")
    return Table(
        frame,
        columns=("intent", "of", "verdict", "answer"),
        heads={"verdict": "", "of": ""},
        group="intent",
        code=("answer",),
    )


def compare(a: str | Path, b: str | Path, *, metric: str = "em@1") -> Table:
    """Runs of the same settings in two folders, b beside a: one line for each that is not the same in both.

    The numbers of all stand in `.frame`: `run` (id in a, else in b), `found` (same, differs, only in a, only in b),
    `a_score`, `b_score`, `difference` (b minus a) with interval, `p` (paired over the same examples, Holm's correction
    over all pairs that can be tested), `effect`, `n`, `verdict`, `other_answers_share` (of the common examples, with
    another first answer) and `provenance` (what of it differs). A file that is cut or was edited counts as not there,
    and is named. Raises ValueError for a folder that does not exist.
    """
    folders = {"a": Path(a), "b": Path(b)}
    for folder in folders.values():
        if not folder.is_dir():
            raise ValueError(f"a result store must be a folder; got {folder}")
    found = {name: results.load(folder, quiet=True) for name, folder in folders.items()}
    keys = {name: _by_settings(each.runs) for name, each in found.items()}
    lines: list[dict] = []
    tested: dict[int, stats.Difference] = {}
    for place, key in enumerate(sorted({*keys["a"], *keys["b"]})):
        line, test = _pair((found["a"], keys["a"].get(key)), (found["b"], keys["b"].get(key)), metric)
        lines.append(line)
        tested |= {place: test} if test is not None else {}
    for place, each in zip(tested, stats.adjusted(list(tested.values())), strict=True):
        lines[place] |= {"difference": each.mean, "difference_low": each.low, "difference_high": each.high, "p": each.p}
        lines[place] |= {"effect": each.effect, "n": each.n, "verdict": stats.decide(each)}
    frame = pd.DataFrame(lines, columns=_PAIR).astype(dict.fromkeys(_PAIR[3:12], float))
    counts = {name: int((frame["found"] == name).sum()) for name in ("same", "differs", "only in a", "only in b")}
    notes = [f"{metric} by run: " + ", ".join(f"{count} {name}" for name, count in counts.items()) + "."]
    notes += ["b minus a, paired over the same examples; p with Holm's correction over all pairs of runs."]
    for name, folder in folders.items():
        notes += [f"Skipped in {name}: {file} {why}." for file, why in results.problems(folder).items()]
    columns = (
        "label",
        "found",
        "a_score",
        "b_score",
        "difference",
        "p",
        "other_answers_share",
        "verdict",
        "provenance",
    )
    heads = {"label": "run", "other_answers_share": "other first answers (%)", "provenance": "what else differs"}
    frame = frame.assign(changed=frame["found"] != "same")
    return Table(frame, tuple(notes), columns=columns, heads=heads, only="changed")


_PAIR = [
    *("run", "label", "found", "a_score", "b_score", "difference", "difference_low", "difference_high", "p"),
    *("effect", "n", "other_answers_share", "verdict", "provenance"),
]


def _by_settings(runs: pd.DataFrame) -> dict[str, pd.Series]:
    """Runs by what was asked; of several with other data or weights, each by its content too."""
    asked = runs["settings"].map(
        lambda settings: json.dumps(
            {name: each for name, each in settings.items() if name not in PLACES and each is not None}, sort_keys=True
        )
    )
    several = asked.duplicated(keep=False)
    labels = names(list(runs["settings"]))
    found = {}
    for (id, run), label in zip(runs.iterrows(), labels, strict=True):
        content = f"{run['data']} {run['weights']}" if several[id] else ""
        told = f"{run['model']}, {run['task']}, {label}, seed {run['seed']}"
        found[asked[id] + content] = run.rename(id).copy()
        found[asked[id] + content]["label"] = told
    return found


def _pair(a: tuple, b: tuple, metric: str) -> tuple[dict, stats.Difference | None]:
    (_ours, one), (_theirs, other) = a, b
    there = one if one is not None else other
    line = {"run": there.name, "label": there["label"]}
    line |= {f"{name}_score": each.get(metric) for name, each in (("a", one), ("b", other)) if each is not None}
    if one is None or other is None:
        return line | {"found": f"only in {'b' if one is None else 'a'}"}, None
    both = [each.answers[each.answers["run"] == run.name].set_index("example") for each, run in (a, b)]
    common = sorted({*both[0].index.astype(object), *both[1].index.astype(object)})
    before, after = (each.reindex(common) for each in both)
    answered = before["code"].notna() & after["code"].notna()
    moved = (before["code"] != after["code"])[answered]
    scores = [name for name in SCORES if name in before and name in after]
    equal = bool(answered.all()) and before[scores].equals(after[scores]) and not moved.any()
    costs = [name for name in SCORES if name in one and name in other]
    same = equal and one[costs].equals(other[costs]) and one["status"] == other["status"]
    line |= {"found": "same" if same else "differs", "other_answers_share": moved.mean() if len(moved) else None}
    line |= {"provenance": "; ".join(_differing(one["provenance"], other["provenance"])) or None}
    if not common or metric not in before or metric not in after:
        return line, None
    return line, stats.paired_difference([after[metric].to_numpy()], [before[metric].to_numpy()])


def _differing(ours: Mapping, theirs: Mapping) -> list[str]:
    """`torch 2.12.0 to 2.13.0`, of everything that provenance says."""
    flat = [{**each, **(each.get("packages") or {})} for each in (ours, theirs)]
    known = sorted({*flat[0], *flat[1]} - {"packages"})
    return [
        f"{name} {str(flat[0].get(name))[:12]} to {str(flat[1].get(name))[:12]}"
        for name in known
        if flat[0].get(name) != flat[1].get(name)
    ]


def _settings(run: Run) -> str:
    names = ("learning_rate", "r", "alpha", "virtual_tokens")
    named = [(name, getattr(run.method, name)) for name in names if hasattr(run.method, name)]
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in named)


def _cost(costs: Sequence) -> dict[str, str]:
    seconds = [each.seconds for each in costs]
    peaks = [each.peak_bytes for each in costs if each.peak_bytes is not None]
    return {
        "minutes left": "unknown" if None in seconds else f"{sum(seconds) / 60:.1f}",
        "memory (GiB)": f"{max(peaks) / 2**30:.2f}" if peaks else "unknown",
    }


def _remaining(costs: Sequence) -> str:
    known = [each.seconds for each in costs if each.seconds is not None]
    unknown = len(costs) - len(known)
    said = f"About {sum(known) / 60:.1f} minutes, as such runs took on this machine" if known else "Minutes are unknown"
    others = f"; no run of the kind of {unknown if known else 'these'} has ended here yet" if unknown else ""
    return f"{said}{others}. Memory is predicted."


def _decoding(run: Run) -> str:
    asked = run.decoding
    how = f"{asked.beams} beams" if asked.temperature is None else f"temperature {asked.temperature:g}"
    return f"Decoding of every run: {how}, {asked.returned} answers an example; precision {run.precision}."


def _training(asked: Training) -> str:
    return (
        f"Training of every trained method: {asked.epochs} epochs, batches of {asked.batch_size}, {asked.optimizer}, "
        f"{asked.schedule} schedule, the checkpoint with the lowest validation loss."
    )


def _overlaps(checks: Mapping) -> list[dict]:
    test = next((each["rows"] for each in checks.get("splits", ()) if each["split"] == "test"), None)
    return [
        {"splits": " and ".join(each["splits"]), **{name: each[name] for name in ("exact", "normalized", "near")}}
        | {"test_rows": test, "known_intents": checks["known_intents"]}
        for each in checks["overlaps"]
    ]


def _near(row: pd.Series) -> str:
    return "look at the near ones" if row["near"] else "clean"


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
