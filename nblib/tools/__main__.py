"""Makes what the repository ships, in the folders where it is shipped."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nblib.provenance import ROOT


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line says; returns the exit status."""
    args = _parser().parse_args(arguments)
    return COMMANDS[args.command](args) or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nblib.tools", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    tasks = commands.add_parser("tasks", help="write the three sample tasks (seconds)")
    tasks.add_argument("--folder", type=Path, default=ROOT / "data" / "tasks")
    model = commands.add_parser("model", help="pre-train an embedded model (up to an hour or more on a CPU)")
    model.add_argument("--name", choices=("tiny", "micro"), default="tiny", help="micro is the smaller sibling")
    model.add_argument("--folder", type=Path, help="default: data/models/NAME")
    model.add_argument("--steps", type=int, help="optimizer steps, instead of the recipe's")
    model.add_argument("--device", default="cpu", help="cpu or cuda")
    for command in (tasks, model):
        command.add_argument("--seed", type=int, default=42)
    notebooks = commands.add_parser("notebooks", help="run, clean or check the committed notebooks in place")
    notebooks.add_argument(
        "action",
        choices=["run", "clean", "check"],
        help="run: execute, clean and check; clean: remove what changes from run to run, outputs stay; "
        "check: print every violation, exit status 1 if there is one",
    )
    notebooks.add_argument("paths", nargs="*", type=Path, help="default: notebooks/*.ipynb of the clone")
    commands.add_parser("make", help="execute every notebook from an empty results/, keep the rows, write the tables")
    commands.add_parser("readme", help="write the tables of README and docs again from the kept rows")
    return parser


# What a command needs is imported when it is asked for: making tasks or cleaning notebooks does without torch.


def _tasks(args: argparse.Namespace) -> None:
    from nblib.tools import sample_tasks

    sample_tasks.write(args.folder, args.seed)


def _model(args: argparse.Namespace) -> None:
    from nblib.tools import pretrain

    recipe = replace(pretrain.RECIPES[args.name], seed=args.seed)
    if args.steps is not None:
        recipe = pretrain.shortened(recipe, args.steps)
    pretrain.fit(recipe, args.folder or ROOT / "data" / "models" / args.name, args.device, name=args.name)


def _notebooks(args: argparse.Namespace) -> int:
    from nblib.tools import notebooks

    paths = args.paths or sorted((ROOT / "notebooks").glob("*.ipynb"))
    if not paths:
        print(f"no notebook in {ROOT / 'notebooks'}")
        return 1
    good = [notebooks.act(args.action, path) for path in paths]
    return 0 if all(good) else 1


def _shipped(args: argparse.Namespace) -> None:
    from nblib.tools import shipped

    shipped.make() if args.command == "make" else shipped.write_tables()


COMMANDS = {"tasks": _tasks, "model": _model, "notebooks": _notebooks, "make": _shipped, "readme": _shipped}

if __name__ == "__main__":
    raise SystemExit(main())
