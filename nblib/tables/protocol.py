"""What surrounds the scores: plan, data, fairness, examples, provenance, two results folders compared."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nblib import results, spec
from nblib.columns import SCORES
from nblib.results import Prediction
from nblib.spec import Run
from nblib.tables.labels import decoding_words, names
from nblib.tables.scores import tests
from nblib.tables.show import Table, paragraph

RIGHT, WRONG, UNKNOWN = "✓ right", "✗ wrong", "? not scored"
PLANNED = ("learning_rate", "loraplus_lr_ratio", "r", "alpha", "virtual_tokens", "tokens")  # settings that a plan shows
FOUND = ("only in b", "only in a", "differs", "same")
LEAKS = "If a test intent is also in the train split, a model can answer from memory, and its score is too high."
Example = Any  # a tasks.Example, of which the id, the intent and the code are read
UNSEEN = (
    "These files cannot show what a base model read in pre-training: public benchmarks may be part of it. The sample "
    "tasks are generated, so no public model has seen them."
)


def plan(runs: Sequence[Run], done: Sequence[bool], costs: Sequence | None = None) -> Table:
    """One line per method: its settings, its seeds, and how many of its runs are done.

    `costs`, from `study.costs`, adds the minutes that its other runs will take, and their memory.
    """
    lines = [
        {
            "method": spec.label(run.method, run.precision),
            "settings": _settings(run),
            "seeds of its runs": str(run.seed),
        }
        for run in runs
    ]
    frame, how = pd.DataFrame(lines).assign(done=done), {"settings": "first", "seeds of its runs": _seeds}
    how["done"] = lambda ended: f"{ended.sum()} of {len(ended)}"
    if costs:
        frame["minutes left"] = minutes = pd.Series([cost.seconds for cost in costs], dtype=float) / 60
        frame["memory (GiB)"] = pd.Series([cost.peak_bytes for cost in costs], dtype=float) / 2**30
        how |= {"minutes left": _minutes} if minutes.notna().any() else {}
        how["memory (GiB)"] = lambda peaks: f"{peaks.max():.2f}" if peaks.notna().any() else "not predicted"
    left = [_time_left(minutes)] if costs else []
    decoding = f"Decoding of every run: {decoding_words(vars(runs[0].decoding))} per example"
    notes = [*left, f"{decoding}; precision {runs[0].precision}."]
    for training in [run.training for run in runs if run.training][:1]:
        notes.append(
            f"Training of every trained method: {training.epochs} epochs, batches of {training.batch_size}, "
            f"{training.optimizer}, {training.schedule} schedule, the checkpoint with the lowest validation loss."
        )
    own = {run.method.kind: optimizer for run in runs if (optimizer := getattr(run.method, "optimizer", ""))}
    notes += [f"{kind} has its own optimizer: {optimizer}." for kind, optimizer in own.items()]
    return Table(frame.groupby("method", sort=False).agg(how).reset_index(), tuple(notes))


def examples(shown: Sequence[Example]) -> Table:
    """Intent and code of some examples."""
    lines = [{"id": example.id, "intent": example.intent, "code": example.code} for example in shown]
    return Table(pd.DataFrame(lines), code=("code",))


def data_checks(checks: Mapping) -> Table:
    """One line per split: what is in a task's data. `checks` is `tasks.checks` as plain values."""
    frame = pd.DataFrame(checks["splits"])
    for name in ("intent_tokens", "code_tokens"):
        frame[name] = [", ".join(f"{count:,}" for count in counts) if counts else None for counts in frame[name]]
    left_out, known = checks["rows_left_out"], checks["known_intents"]
    past = sum(split.get("past_a_stop") or 0 for split in checks["splits"])
    notes = (
        "Tokens: median, 90 %, 99 %, longest.",
        *(
            f"{' and '.join(pair['splits'])} share {pair['exact']} intents letter for letter, {pair['normalized']} up "
            f"to case, spacing and quotes, {pair['near']} nearly."
            for pair in checks["overlaps"]
        ),
        f"{left_out} rows without code are left out." if left_out else "",
        f"{known} test rows are left out because another task trains on their intent." if known else "",
        "Code that goes on past a string that ends answers cannot be matched by any answer." if past else "",
        *checks.get("remarks", ()),
    )
    heads = {"rows_too_long": "too long to train on", "past_a_stop": "goes on past a stop"}
    shown = ("split", "rows", "repeated_intents", "intent_tokens", "code_tokens", "rows_too_long")
    return Table(frame, notes, columns=shown, heads=heads)


def layers(isolation: Mapping[str, bool]) -> Table:
    """What keeps untrusted programs in, on this machine."""
    lines = [{"layer": name, "here": "yes" if is_here else "no"} for name, is_here in isolation.items()]
    return Table(pd.DataFrame(lines))


def failure(found) -> Table:
    """A program that fails, and the test it fails; None: no program fails."""
    if found is None:
        return paragraph("Every first answer passes all its tests.")
    parts = {"problem": found.intent, "program": found.program, "test": found.test, "expected": found.expected}
    parts |= {"got": found.got, "verdict": found.verdict.replace("_", " ")}
    return Table(pd.DataFrame({"what": parts.keys(), "text": parts.values()}), code=("text",))


def fairness(runs: pd.DataFrame, answers: pd.DataFrame) -> Table:
    """What has to be equal for scores to compare, and whether it is."""
    well = runs[runs["status"] == results.OK]
    checks = {
        "same data": runs["data"],
        "same base model": runs["weights"],
        "same precision, except for QLoRA": runs.loc[~runs["kind"].isin(spec.QLORA), "precision"],
        "same decoding": runs["settings"].map(lambda settings: str(settings["decoding"])),
        "same training, except for the learning rate": runs["training"].dropna(),
        "same test examples": answers.groupby("run", observed=True)["example"]
        .agg(list)
        .astype(str)
        .reindex(well.index),
        "same versions of the packages": runs["provenance"].map(lambda origin: str(origin.get("packages"))),
        "same commit of nblib": runs["provenance"].map(lambda origin: origin.get("commit")),
        "same threads": runs.loc[runs["device"] == "cpu", "provenance"].map(lambda origin: origin.get("threads")),
    }
    kinds = {name: found.nunique(dropna=False) for name, found in checks.items()}
    answer = {name: "yes" if count <= 1 else f"no: {count} kinds" for name, count in kinds.items()}
    changed = sum(origin.get("clean") is False and bool(origin.get("commit")) for origin in runs["provenance"])
    answer["code as it was committed"] = f"no: not in {changed} runs" if changed else "yes"
    dropped = sum(notes.get("queries_with_dropped_shots", 0) > 0 for notes in runs["notes"])
    answer["every run finished"] = "yes" if len(well) == len(runs) else f"no: {len(well)} of {len(runs)}"
    answer["all shots fit into the context"] = f"no: not in {dropped} runs" if dropped else "yes"
    answer["no test intent is in the training rows"] = f"no: {leaks}" if (leaks := leaked(runs)) else "yes"
    chosen = [_chosen(settings["method"]) for settings in runs["settings"]]
    note = f"Besides the rate, these settings are not the method's defaults: {'; '.join(sorted({*chosen} - {''}))}."
    table = pd.DataFrame({"check": answer.keys(), "answer": answer.values()})
    return Table(table, (note,) if any(chosen) else ())


def _chosen(settings: Mapping) -> str:
    """`lora alpha 64, dropout 0.0`: what else than rate and shots is not as the method has it by default."""
    own = spec.changed(spec.method(**settings)) if settings["kind"] in spec.METHODS else {}
    words = [f"{name} {value}" for name, value in own.items() if name not in ("learning_rate", "shots")]
    optimizer = getattr(spec.METHODS.get(settings["kind"]), "optimizer", "")
    words += [f"optimizer {optimizer}"] if optimizer else []
    return f"{settings['kind']} {', '.join(words)}" if words else ""


def leaked(runs: pd.DataFrame) -> str:
    """How many test intents are also in the training rows: `5 of 40, 2 of them exactly`; empty: none is known of."""
    shared = _overlaps(runs).query("splits == 'train and test' and near > 0")
    most = shared.astype({"near": float}).nlargest(1, "near")[["near", "test_rows", "normalized"]]
    return "".join(f"{near:.0f} of {rows:.0f}, {exact:.0f} of them exactly" for near, rows, exact in most.to_numpy())


def provenance(runs: pd.DataFrame) -> Table:
    """Code, versions and machine behind the runs; if values differ, all of them."""
    origins = _origins(runs)
    values = [", ".join(sorted(set(origins[name].map(str)))) for name in origins]
    return Table(pd.DataFrame({"what": origins.columns, "value": values}))


def appendix(runs: pd.DataFrame) -> Table:
    """One line per run, by id. Every number in the report is a mean over the lines of one model, task and method.

    Besides settings and scores, a line has `marks` (partial, shape only) and its origin: commit, machine, content of
    data and weights, versions of the packages. What all lines share, we write once below the table.
    """
    runs = runs.sort_index()
    columns = ["model", "task", "trained_on", "precision", "seed", "split", "status", "em@1", "strict_accuracy"]
    frame = runs.reindex(columns=columns).rename_axis("id")
    frame.insert(3, "method", names(list(runs["settings"])))
    marks = zip(runs["limit"].notna(), runs["shape_only"].astype(bool), strict=True)
    frame["marks"] = [", ".join(["partial"] * limited + ["shape only"] * shaped) or None for limited, shaped in marks]
    origins = _origins(runs).drop(columns=["revisions", "scored"], errors="ignore")
    shared = {name: origins[name].iloc[0] for name in origins if origins[name].map(str).nunique() == 1}
    note = "The same for all: " + ", ".join(f"{name} {value}" for name, value in shared.items()) + "."
    scores = [name for name in ("em@1", "strict_accuracy") if frame[name].notna().any()]
    notes = (note if len(frame) else "There are no runs.",)
    return Table(frame.join(origins), notes, columns=("id", "status", *scores, "marks"))


def skipped(problems: Mapping[str, str]) -> Table:
    """Files of the folder that no table uses, and why: `problems` of nblib.results."""
    lines = [{"file": name, "why": why} for name, why in sorted(problems.items())]
    note = "No table uses these files. Run their notebook again, or restore them."
    return Table(pd.DataFrame(lines), (note if lines else "Every file in the folder is complete and unchanged.",))


def leakage(runs: pd.DataFrame) -> Table:
    """One line per task, training task and pair of splits, from the checks that runs make of their data.

    `exact`, `normalized` and `near` count the intents that both splits have; `test_rows` the test split's rows;
    `known_intents` the test rows that we left out because another task trains on them. If a task's runs kept no checks,
    its line is empty.
    """
    frame, by = _overlaps(runs), ["task", "trained_on", "splits"]
    unknown = frame["splits"].isna() & (frame.groupby(by[:2])["splits"].transform("count") > 0)
    frame = frame[~unknown].drop_duplicates().sort_values(by, kind="stable", ignore_index=True)
    is_so = [frame["splits"].isna(), frame["normalized"] > 0, frame["near"] > 0]
    frame["so"] = np.select(is_so, ["not checked", "leaks", "look at the near ones"], "clean")
    heads = {"task": "task", "exact": "same intents", "normalized": "same up to case, spacing, quotes"}
    heads |= {"near": "nearly the same", "known_intents": "test rows left out", "so": "verdict"}
    shown = (*by, "exact", "near", "so")
    return Table(frame, (LEAKS, UNSEEN), columns=shown, heads=heads, group="task")


def side_by_side(
    examples: Sequence[Example], predictions_by_label: Mapping[str, Sequence[Prediction]], count: int = 5
) -> Table:
    """`count` examples with the reference and each method's first answer, and whether it is right (EM@1).

    We choose instructive ones, always the same: about two thirds on which methods disagree, each with another pattern
    of right and wrong if possible, the most frequent patterns first; then some that all methods get wrong; then any
    others.
    """
    answers = {
        label: {prediction.example: prediction for prediction in predictions}
        for label, predictions in predictions_by_label.items()
    }
    patterns = pd.Series(
        [tuple(_verdict(found.get(example.id)) for found in answers.values()) for example in examples], dtype=object
    )
    lines = []
    for place in _choose(patterns, count):
        example = examples[place]
        about = {"example": example.id, "intent": example.intent}
        lines.append(about | {"of": "reference", "verdict": "", "answer": example.code})
        for (label, found), verdict in zip(answers.items(), patterns[place], strict=True):
            lines.append(about | {"of": label, "verdict": verdict, "answer": _first(found.get(example.id))})
    frame = pd.DataFrame(lines, columns=["example", "intent", "of", "verdict", "answer"])
    shown = ("intent", "of", "verdict", "answer")
    return Table(frame, columns=shown, heads={"verdict": "", "of": ""}, group="intent", code=("answer",))


def compare(a: str | Path, b: str | Path, *, metric: str = "em@1") -> Table:
    """Compares two results folders run by run, b against a: one line for each run that is not the same in both.

    The lines have `run` (id in a, else in b), `found` (differs, only in a, only in b), `a_score`, `b_score`, b minus a
    with its test (paired over the same examples, Holm's correction over all pairs), `other_answers_share` (of the
    common examples, with another first answer) and `provenance` (what of it differs). A file that is cut off or was
    edited counts as missing, and we name it. Raises ValueError if a folder does not exist.
    """
    folders = {"a": Path(a), "b": Path(b)}
    for folder in folders.values():
        if not folder.is_dir():
            raise ValueError(f"a result store must be a folder; got {folder}")
    stores = {name: _by_settings(results.load(folder, quiet=True)) for name, folder in folders.items()}
    (a_runs, a_answers), (b_runs, b_answers) = stores.values()
    both, frame = a_runs.index.intersection(b_runs.index), pd.concat([a_runs, b_runs])[["run", "label"]]
    frame = frame[~frame.index.duplicated()].sort_index()
    for name, store in stores.items():
        frame[f"{name}_score"] = store.runs.reindex(columns=[metric])[metric]
    common = a_answers.merge(b_answers, on=["pair", "example"])
    is_other = common["code_x"].fillna("") != common["code_y"].fillna("")
    frame["other_answers_share"] = is_other.groupby(common["pair"]).mean()
    columns = ["status", *(name for name in SCORES if name in a_runs and name in b_runs)]
    one, other = (runs.loc[both, columns].astype(object).fillna("") for runs in (a_runs, b_runs))
    differ = both[(one != other).any(axis=1) | (frame["other_answers_share"].reindex(both) > 0)]
    where = [~frame.index.isin(a_runs.index), ~frame.index.isin(b_runs.index), frame.index.isin(differ)]
    frame["found"] = np.select(where, FOUND[:3], FOUND[3])
    frame = frame.join(_paired(stores, both, metric))
    origins = zip(a_runs.loc[both, "provenance"], b_runs.loc[both, "provenance"], strict=True)
    frame["provenance"] = pd.Series([_differing(*pair) for pair in origins], both, dtype=object)
    words = ", ".join(f"{(frame['found'] == name).sum()} {name}" for name in FOUND[::-1])
    skipped = [
        f"Skipped in {name}: {file} {why}." for name in folders for file, why in results.problems(folders[name]).items()
    ]
    kept = [f"In {count} runs: {text}." for text, count in frame["provenance"].value_counts().items()]
    note = "b minus a, paired over the same examples; p with Holm's correction. It compares these runs, not methods."
    shown = ("label", "found", "a_score", "b_score", "difference")
    heads = {"label": "run", "other_answers_share": "other first answers (%)", "provenance": "what else differs"}
    frame = frame[frame["found"] != "same"].reset_index(drop=True)
    return Table(frame, (f"{metric} by run: {words}.", note, *kept, *skipped), columns=shown, heads=heads)


def _by_settings(frames: results.Frames) -> results.Frames:
    """The runs by what was asked (`pair`), which does not say where files lay, and their answers with it.

    Of several runs with other data or weights each is one by its content, too.
    """
    runs, answers = frames
    settings = runs["settings"].map(
        lambda own: {name: own[name] for name in own if name != "data_dir" and own[name] is not None}
    )
    pairs = settings.map(lambda own: json.dumps(own, sort_keys=True)).astype(object)
    content = runs["data"].astype(str) + " " + runs["weights"].astype(str)
    pairs = pairs + content.where(pairs.duplicated(keep=False), "")
    about = zip(runs["model"], runs["task"], names(list(runs["settings"])), runs["seed"], strict=True)
    runs = runs.assign(pair=pairs, label=["{}, {}, {}, seed {}".format(*run) for run in about])
    answers = answers.astype({"run": object, "example": object})
    return results.Frames(
        runs.reset_index(names="run").set_index("pair"), answers.assign(pair=answers["run"].map(pairs))
    )


def _paired(stores: Mapping[str, results.Frames], pairs: pd.Index, metric: str) -> pd.DataFrame:
    """By pair: b minus a over the same examples."""
    answers = pd.concat([store.answers.assign(store=name) for name, store in stores.items()])
    answers = answers[answers["pair"].isin(pairs)]
    answers = answers.assign(stochastic=False)  # of two runs with the same seed, not of two methods
    settings: dict = {"within": ["pair"], "family": ()}
    found = tests(answers, ["pair", "store"], metric, {"store": "a"}, **settings)
    return found[found.index.get_level_values("store") == "b"].droplevel("store")


def _differing(first: Mapping, second: Mapping) -> str | None:
    """`torch 2.12.0 to 2.13.0`, of everything that provenance says."""
    one, other = (_flat(origin) for origin in (first, second))
    pairs = {
        name: (str(one.get(name))[:12], str(other.get(name))[:12])
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    }
    return "; ".join(f"{name} {old} to {new}" for name, (old, new) in pairs.items()) or None


def _origins(runs: pd.DataFrame) -> pd.DataFrame:
    """What the provenance of each run says, the packages' versions among it."""
    origins = [_flat(origin) for origin in runs["provenance"]]
    columns = dict.fromkeys(name for origin in origins for name in origin)
    return pd.DataFrame({name: [origin.get(name) for origin in origins] for name in columns}, runs.index, dtype=object)


def _flat(provenance: Mapping) -> dict:
    versions = provenance.get("packages") or {}
    return {name: value for name, value in provenance.items() if name != "packages"} | versions


def _settings(run: Run) -> str:
    settings = vars(run.method)
    return ", ".join(f"{name.replace('_', ' ')} {settings[name]:g}" for name in PLANNED if name in settings)


def _seeds(seeds: pd.Series) -> str:
    """`42, 777, +3`."""
    few = [*seeds[:2], f"+{len(seeds) - 2}"] if len(seeds) > 3 else seeds
    return ", ".join(few)


def _minutes(left: pd.Series) -> str:
    return "not known yet" if left.isna().any() else f"{max(left.sum(), 0.1):.1f}" if left.any() else "–"


def _time_left(minutes: pd.Series) -> str:
    """How long it takes, as far as earlier runs tell."""
    new = minutes.isna().sum()
    if new and not minutes.any():
        return "We know how long this takes once the first run has ended. Memory is predicted."
    left = f"About {max(minutes.sum(), 0.1):.1f} minutes" if minutes.any() else "All runs are done"
    return left + (f", plus {new} of a kind that has not run yet" if new else "") + ". Memory is predicted."


def _overlaps(runs: pd.DataFrame) -> pd.DataFrame:
    """One line per run and pair of splits; a run without checks of its data has one line with nothing in it."""
    lines = []
    for _, run in runs[(runs["split"] == "test") & ~runs["shape_only"].astype(bool)].iterrows():
        about = {"task": run["task"], "trained_on": run["settings"].get("train_task") or run["task"]}
        checks = run["notes"].get("data_checks")
        rows = {split["split"]: split["rows"] for split in checks["splits"]} if checks else {}
        counts = {"test_rows": rows.get("test"), "known_intents": checks["known_intents"]} if checks else {}
        for pair in checks["overlaps"] if checks else [{"splits": ()}]:
            lines.append(about | pair | counts | {"splits": " and ".join(pair["splits"]) or None})
    columns = ["task", "trained_on", "splits", "exact", "normalized", "near", "test_rows", "known_intents"]
    return pd.DataFrame(lines, columns=columns)


def _verdict(prediction: Prediction | None) -> str:
    score = None if prediction is None else prediction.scores.get("em@1")
    return UNKNOWN if score is None else RIGHT if score == 1 else WRONG


def _first(prediction: Prediction | None) -> str:
    if prediction is None:
        return "(no prediction)"
    return prediction.codes[0] if prediction.codes and prediction.codes[0].strip() else "(empty)"


def _choose(patterns: pd.Series, count: int) -> list[int]:
    """Places of examples with different verdicts, then of those that all get wrong, then of others."""
    kinds = patterns.map(set)
    differ, wrong = patterns[kinds.map(len) > 1], list(patterns.index[kinds.map(lambda kind: kind == {WRONG})])
    groups = differ.groupby(differ)  # the first of each pattern, frequent ones first; then the second of each
    varied = pd.DataFrame({"nth": groups.cumcount(), "rarity": -groups.transform("size")})
    varied = list(varied.sort_values(["nth", "rarity"], kind="stable").index)
    of_wrong = min(len(wrong), max(count // 3, count - len(varied)))
    chosen = [*varied[: count - of_wrong], *wrong[:of_wrong]]
    return [*chosen, *(place for place in patterns.index if place not in chosen)][:count]
