"""Makes an embedded model or the sample tasks from a seed.

    python -m nblib.tiny tasks [--seed N] [--folder F]
    python -m nblib.tiny model [--name tiny|micro] [--seed N] [--folder F] [--steps N] [--device D]

Run it from the repository's root: the default folders are the shipped ones.
"""

import argparse
from dataclasses import replace
from pathlib import Path


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line and does what it says."""
    asked = _parser().parse_args(arguments)
    if asked.what == "tasks":
        from nblib.tiny import sample_tasks

        sample_tasks.write(asked.folder, asked.seed)
    else:
        _fit(asked)


def _fit(asked: argparse.Namespace) -> None:
    from nblib.tiny import pretrain  # imports torch

    recipe = replace(pretrain.RECIPES[asked.name], seed=asked.seed)
    if asked.steps is not None:
        recipe = pretrain.shortened(recipe, asked.steps)
    pretrain.fit(recipe, asked.folder or Path("data/models") / asked.name, asked.device, name=asked.name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nblib.tiny", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    tasks = commands.add_parser("tasks", help="write the three sample tasks (seconds)")
    tasks.add_argument("--folder", type=Path, default=Path("data/tasks"))
    model = commands.add_parser("model", help="pre-train an embedded model (up to an hour or more on a CPU)")
    model.add_argument("--name", choices=("tiny", "micro"), default="tiny", help="micro is the smaller sibling")
    model.add_argument("--folder", type=Path, default=None, help="default: data/models/NAME")
    model.add_argument("--steps", type=int, default=None, help="optimizer steps, instead of the recipe's")
    model.add_argument("--device", default="cpu", help="cpu or cuda")
    for command in (tasks, model):
        command.add_argument("--seed", type=int, default=42)
    return parser


if __name__ == "__main__":
    main()
