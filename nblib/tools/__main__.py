"""Makes what the repository ships, in the folders where it is shipped."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nblib.provenance import ROOT


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m nblib.tools", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(do, name: str, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help)
        added.set_defaults(do=do)
        return added

    tasks = command(_tasks, "tasks", "write the three sample tasks (seconds)")
    tasks.add_argument("--folder", type=Path, default=ROOT / "data" / "tasks")
    model = command(_model, "model", "pre-train an embedded model (up to an hour or more on a CPU)")
    model.add_argument("--name", choices=("tiny", "micro"), default="tiny", help="micro is the smaller sibling")
    model.add_argument("--folder", type=Path, help="default: data/models/NAME")
    model.add_argument("--steps", type=int, help="optimizer steps, instead of the recipe's")
    model.add_argument("--device", default="cpu", help="cpu or cuda")
    for seeded in (tasks, model):
        seeded.add_argument("--seed", type=int, default=42)
    notebooks = command(_notebooks, "notebooks", "run, clean or check the committed notebooks in place")
    notebooks.add_argument(
        "action",
        choices=["run", "clean", "check"],
        help="run: execute, clean and check; clean: remove what changes from run to run, outputs stay; "
        "check: print every violation, exit status 1 if there is one",
    )
    notebooks.add_argument("paths", nargs="*", type=Path, help="default: notebooks/*.ipynb of the clone")
    command(_make, "make", "execute every notebook from an empty results/, keep the rows, write the tables")
    command(_readme, "readme", "write the tables of README and docs from the kept rows")
    submit = command(
        _submit, "submit", "check the rows of a results folder and pack them as one file for a pull request"
    )
    submit.add_argument("folder", type=Path, help="such as results/")
    submit.add_argument("--by", required=True, help="whose results these are, as the report will say")
    args = parser.parse_args(arguments)
    sys.path.append(str(ROOT / "data"))
    return args.do(args) or 0


# A command imports what it needs when it runs: making tasks or cleaning notebooks does without torch. What makes tasks
# and models is no part of nblib: it stands in data/recipes, beside the tables that it reads.


def _tasks(args: argparse.Namespace) -> None:
    from recipes import elsewhere, sample_tasks

    sample_tasks.write(args.folder, args.seed)
    elsewhere.write(args.folder)


def _model(args: argparse.Namespace) -> None:
    from recipes import pretrain

    recipe = replace(pretrain.RECIPES[args.name], seed=args.seed)
    if args.steps is not None:
        recipe = pretrain.shortened(recipe, args.steps)
    pretrain.fit(recipe, args.folder or ROOT / "data" / "models" / args.name, args.device, name=args.name)


def _notebooks(args: argparse.Namespace) -> int:
    from nblib.tools import notebooks

    paths = args.paths or sorted((ROOT / "notebooks").glob("*.ipynb"))
    if not paths:
        print(f"no notebook in {ROOT / 'notebooks'}")
    good = [notebooks.act(args.action, path) for path in paths]
    return 0 if paths and all(good) else 1


def _make(args: argparse.Namespace) -> None:
    from nblib.tools import shipped

    shipped.make()


def _readme(args: argparse.Namespace) -> None:
    from nblib.tools import shipped

    shipped.write_tables()


def _submit(args: argparse.Namespace) -> int:
    from nblib import community

    try:
        path, left = community.pack(args.folder, args.by)
    except ValueError as nothing:
        print(nothing)
        return 1
    for id, why in left.items():
        print(f"left out: {id} {why}")
    print(f"{path} is written: add it to a pull request, under MIT as all of data/. CONTRIBUTING.md says how.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
