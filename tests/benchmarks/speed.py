"""The README's table of speeds: every benchmark of both ways, as Markdown, with the machine named.

    OMP_NUM_THREADS=1 python tests/benchmarks/speed.py [--data datasets] [--quick]

`--data` names a folder with a folder `conala` of the real rows; without it the rows are conala-mini's. With one thread
the seconds are the processor's, which a busy machine changes little; but for programs, which are other processes, they
are the clock's. Programs are started from this process, with torch and a model in it, as where a study scores itself.
`--quick` is a look at the tiny model alone.
"""

import argparse
import platform
import statistics
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import decoding_speed
import sandbox_speed
import torch
import training_speed

from nblib import tasks

DECODING = (  # model, queries, new tokens, repeats, examples in the prompt
    ("tiny", 32, None, 3, (0, 3, 8)),
    ("100m", 8, 16, 2, (0, 3, 8)),
    ("350m", 4, 16, 1, (0, 3)),
)
SCORING = (("tiny", 99, 3), ("350m", 99, 3))  # model in memory, programs, repeats
TRAINING = (("tiny", 640, 3), ("100m", 160, 1))  # model, rows, repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with a folder `conala`")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    task, folder = ("conala", args.data / "conala") if args.data else ("conala-mini", None)
    sizes = {"decoding": DECODING, "training": TRAINING, "scoring": SCORING}
    if args.quick:
        sizes = {"decoding": (("tiny", 4, None, 1, (0, 3)),), "training": (("tiny", 80, 1),)}
        sizes["scoring"] = (("tiny", 40, 1),)
    print(f"{machine()}; rows of {task}; bytes beyond the model\n")
    print("| work | model | times as fast | same results | MiB, the study's and ours |")
    print("| --- | --- | --- | --- | --- |")
    measured = training(task, folder, sizes["training"]), decoding(task, folder, sizes["decoding"])
    for line in chain(*measured, scoring(sizes["scoring"])):
        print(line, flush=True)


def training(task: str, folder: Path | None, sizes: Iterable) -> Iterator[str]:
    for model, rows, repeats in sizes:
        found = training_speed.compare(model, task, folder, rows=rows, batch=8, repeats=repeats)
        same = f"losses to {found.difference:.0e}"
        yield row(f"training LoRA ({found.length} tokens)", model, found.ratios, same, found.peak_bytes)


def decoding(task: str, folder: Path | None, sizes: Iterable) -> Iterator[str]:
    data = tasks.load(task, folder)
    for name, queries, new_tokens, repeats, shots in sizes:
        model, tokenizer = decoding_speed.load(name)
        compare = partial(decoding_speed.compare, name, model.eval(), tokenizer, task, repeats=repeats)
        for count in shots:
            found = compare(count, decoding_speed.ask(tokenizer, task, data, count, queries, 16, new_tokens))
            work = f"10 beams, {count} shots ({found.prompt_tokens:.0f} tokens)"
            yield row(work, name, found.ratios, f"{found.agree:.0%} of queries", found.peak_bytes)


def scoring(sizes: Iterable) -> Iterator[str]:
    """A process is forked for every program, which takes the longer the more memory this one has."""
    for name, programs, repeats in sizes:
        held = decoding_speed.load(name)
        ratios = sandbox_speed.compare(programs, repeats)
        del held
        work = f"running {programs} programs"
        yield row(work, name, ratios, "all outputs", None)


def row(work: str, model: str, ratios: tuple[float, ...], same: str, peaks: tuple[int, int] | None) -> str:
    spread = f"{statistics.median(ratios):.1f}\xa0({min(ratios):.1f}\xa0to\xa0{max(ratios):.1f})"  # on one line
    memory = " and ".join(f"{peak / 2**20:.0f}" for peak in peaks) if peaks else "–"
    return f"| {work} | {model} | {spread} | {same} | {memory} |"


def machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
