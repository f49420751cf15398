"""A search for the learning rates of the default preset: five for each method, on the validation split.

    python tests/benchmarks/learning_rates.py [--task conala-mini] [--methods lora ia3] [--results results]

Every method gets the same number of trials and the same seed; greedy EM@1 on the validation split decides, the lower
validation loss where it ties. The test split is not read. `--max-train 200` trains on the first rows only, which takes
a quarter of the time and favours higher rates. Runs that are finished are not repeated.
"""

import argparse

from nblib import presets, provenance, results, study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--task", default="conala-mini")
    parser.add_argument("--methods", nargs="+", default=[])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-train", type=int)
    parser.add_argument("--results", default=str(provenance.ROOT / "results"))
    args = parser.parse_args()
    names = args.methods or list(presets.RATES)
    print(f"{'method':16}{'learning rate':>14}{'EM@1':>8}{'loss':>9}{'seconds':>9}")
    for kind in names:
        runs = study.search(args.model, args.task, names=[kind], seed=args.seed, max_train=args.max_train)
        rows = study.run_all(study.plan(runs), args.results)
        best = max(rows, key=lambda row: (_exact(row), -_loss(row)))
        for row in rows:
            mark = " best" if row is best else f" {row.status}" if row.status != results.OK else ""
            rate, seconds = row.settings["method"]["learning_rate"], row.costs["train_seconds"]
            print(f"{kind:16}{rate:14g}{_exact(row):8.3f}{_loss(row):9.4f}{seconds:9.1f}{mark}", flush=True)


def _exact(row: results.Row) -> float:
    return row.scores["em@1"]["mean"] if row.status == results.OK else 0.0


def _loss(row: results.Row) -> float:
    return min((loss for _, loss in row.notes.get("validation_losses", [])), default=float("inf"))


if __name__ == "__main__":
    main()
