"""What measuring memory costs: seconds beside those of a step of training, and of a whole training.

    python tests/benchmarks/memory_cost.py [--model tiny] [--precision fp32] [--rounds 20] [--steps 200]

Kinds are measured in the first step; later steps only pass hooks that return. Each number is the fastest of its rounds,
which take turns: what else the machine does only ever adds time.
"""

import argparse
import time

import torch
from clock import peak_of

from nblib import memory, methods, models, spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200, help="of the training whose share is told")
    args = parser.parse_args()
    model, tokenizer = models.load(args.model, args.precision)
    model = methods.attach(model, spec.Lora(), tokenizer, seed=1).train()
    adamw = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad])
    ids = torch.randint(0, len(tokenizer), (args.batch, args.length), device=model.device)

    def step() -> None:
        model(input_ids=ids, labels=ids).loss.backward()
        adamw.step()
        adamw.zero_grad()

    seconds: dict[str, list[float]] = {"plain": [], "first": [], "later": [], "peak_of": [], "phase": []}
    step()
    for _ in range(args.rounds):
        seconds["plain"].append(timed(step))
        with memory.first_step(model):
            seconds["first"].append(timed(step))
            seconds["later"].append(timed(step))
        seconds["phase"].append(timed(empty_phase))
    for _ in range(3):
        seconds["peak_of"].append(timed(lambda: peak_of(step)))
    report({name: min(times) for name, times in seconds.items()}, args.steps)


def empty_phase() -> None:
    with memory.phase(memory.Peak()):
        pass


def timed(call) -> float:
    begun = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def report(seconds: dict[str, float], steps: int) -> None:
    plain = seconds["plain"]
    extra = {
        "the step that is measured": seconds["first"] - plain,
        "a later step": seconds["later"] - plain,
        "a phase": seconds["phase"],
        "a step under peak_of": seconds["peak_of"] - plain,
    }
    print(f"a step without any of it: {1000 * plain:.2f} ms; beyond it:")
    for name, more in extra.items():
        print(f"{name:28}{1000 * more:+9.2f} ms{100 * more / plain:+9.2f} % of a step")
    whole = seconds["first"] - plain + (steps - 1) * (seconds["later"] - plain) + seconds["phase"]
    print(f"{f'a training of {steps} steps':28}{1000 * whole:+9.2f} ms{100 * whole / (steps * plain):+9.2f} % of it")


if __name__ == "__main__":
    main()
