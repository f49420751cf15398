"""A search for the learning rates of the default preset: five for each method, on the validation split.

    python tests/benchmarks/learning_rates.py [--task conala-mini] [--results results/learning_rates]

Every method gets the same number of trials and the same seed; greedy EM@1 on the validation split decides, the lower
validation loss where it ties. The test split is not read.
"""

import argparse
from dataclasses import replace

from nblib import models, presets, provenance, results, spec, study, tasks

RATES = {
    "lora": (1e-3, 2e-3, 5e-3, 1e-2, 2e-2),
    "ia3": (1e-2, 2e-2, 5e-2, 1e-1, 2e-1),
    "prompt-tuning": (1e-2, 3e-2, 1e-1, 3e-1, 1.0),
    "prefix-tuning": (1e-2, 3e-2, 1e-1, 3e-1, 1.0),
    "full": (2e-4, 5e-4, 1e-3, 2e-3, 5e-3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--task", default="conala-mini")
    parser.add_argument("--methods", nargs="+", default=list(RATES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", default=str(provenance.ROOT / "results" / "learning_rates"))
    asked = parser.parse_args()
    data = tasks.load(asked.task)
    # The validation rows take the place of the test rows, so the test split cannot be tuned to.
    data = replace(data, test=data.validation, content=f"validation of {data.content}")
    preset = presets.get("default")
    print(f"{'method':16}{'learning rate':>14}{'EM@1':>8}{'loss':>9}{'seconds':>9}")
    for kind in asked.methods:
        own = next(each for each in preset.methods if each.kind == kind)
        trials = [_trial(asked, data, replace(own, learning_rate=rate), preset) for rate in RATES[kind]]
        best = max(trials, key=lambda row: (_exact(row), -_loss(row)))
        for row in trials:
            mark = " best" if row is best else ""
            rate = row.settings["method"]["learning_rate"]
            seconds = row.costs["train_seconds"]
            print(f"{kind:16}{rate:14g}{_exact(row):8.3f}{_loss(row):9.4f}{seconds:9.1f}{mark}", flush=True)


def _trial(asked: argparse.Namespace, data: tasks.Data, method: spec.Method, preset: presets.Preset) -> results.Row:
    run = spec.Run(
        model=asked.model,
        task=asked.task,
        method=method,
        precision=models.choose_precision("auto"),
        training=preset.training,
        decoding=spec.Decoding(beams=1, returned=1, batch_size=50),
        seed=asked.seed,
    )
    id = spec.run_id(run, data=data.content, weights=models.revision(asked.model))
    if not results.finished(asked.results, id):
        study.run_one(study.Planned(run, id, data), asked.results)
    return results.read(asked.results, [id])[0]


def _exact(row: results.Row) -> float:
    return row.scores["em@1"]["mean"] if row.status == results.OK else 0.0


def _loss(row: results.Row) -> float:
    return min((loss for _, loss in row.notes.get("validation_losses", [])), default=float("inf"))


if __name__ == "__main__":
    main()
