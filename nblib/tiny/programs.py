"""Little problems over a list of integers, made of steps: their text, and the program or function that solves them."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One stage of a problem: how it is asked for and the line that does it."""

    asked: tuple[str, ...]  # imperative phrases
    code: str  # template over `xs`: a list for a stage, a value for the last one


def _read(table: str) -> tuple[Step, ...]:
    rows = (line.split(" :: ") for line in table.strip().splitlines())
    return tuple(Step(tuple(part.strip() for part in asked.split(" | ")), code.strip()) for code, asked in rows)


KNOWN_STAGES = _read("""
[x for x in xs if x > {n}] :: Keep the numbers greater than {n}. | Drop all numbers that are at most {n}.
[x for x in xs if x < {n}] :: Keep the numbers less than {n}. | Drop all numbers that are at least {n}.
[x for x in xs if x % 2 == 0] :: Keep the even numbers. | Throw away the odd numbers.
[x for x in xs if x % 2 == 1] :: Keep the odd numbers. | Throw away the even numbers.
[x for x in xs if x != {n}] :: Remove every {n}. | Keep the numbers that differ from {n}.
[x * {n} for x in xs] :: Multiply each number by {n}. | Replace each number by {n} times its value.
[x + {n} for x in xs] :: Add {n} to each number. | Increase each number by {n}.
[x - {n} for x in xs] :: Subtract {n} from each number. | Decrease each number by {n}.
[x ** 2 for x in xs] :: Square each number. | Replace each number by its square.
sorted(xs) :: Sort the numbers. | Put the numbers in ascending order.
xs[::-1] :: Reverse the list. | Put the numbers in reverse order.
xs[:{n}] :: Take the first {n} numbers. | Keep only the first {n} numbers.
""")
NEW_STAGES = _read("""
[x for x in xs if x % {n} == 0] :: Keep the numbers divisible by {n}. | Keep the multiples of {n}.
[x % {n} for x in xs] :: Take each number modulo {n}. | Replace each number by its remainder modulo {n}.
[abs(x - {n}) for x in xs] :: Replace each number by its distance to {n}. | Compute how far each number is from {n}.
[x // {n} for x in xs] :: Divide each number by {n} rounding down. | Replace each number by its integer quotient by {n}.
xs[::2] :: Take every second number. | Keep the numbers at even positions.
sorted(xs, reverse=True) :: Sort the numbers in descending order. | Put the largest numbers first.
""")
KNOWN_ENDS = _read("""
sum(xs) :: the sum | the total of the numbers
max(xs, default=0) :: the maximum, or 0 if none is left | the largest number, or 0 if none is left
min(xs, default=0) :: the minimum, or 0 if none is left | the smallest number, or 0 if none is left
len(xs) :: how many numbers are left | the count of the numbers
len(set(xs)) :: how many different numbers there are | the count of distinct numbers
""")
NEW_ENDS = _read("""
sum(x * x for x in xs) :: the sum of the squares | the total of all squared numbers
xs.count(max(xs, default=0)) :: how often the maximum occurs | the number of times the largest value appears
sum(xs) % 10 :: the last digit of the sum | the sum modulo 10
""")


@dataclass(frozen=True)
class Problem:
    """A problem's text without its examples, and its solution's lines over `xs`."""

    asked: str
    stages: tuple[str, ...]
    end: str


def problem(rng: random.Random, *, stages: tuple[Step, ...], ends: tuple[Step, ...], length: int) -> Problem:
    """A random problem of `length` stages."""
    chosen = [rng.choice(stages) for _ in range(length)]
    end = rng.choice(ends)
    asked, code = [], []
    for step in chosen:
        number = rng.randint(2, 9)
        asked.append(rng.choice(step.asked).format(n=number))
        code.append(step.code.format(n=number))
    return Problem(" ".join([*asked, f"{{verb}} {rng.choice(end.asked)}."]), tuple(code), end.code)


def standard_input(problem: Problem) -> tuple[str, str]:
    """The question and the program that reads one line of integers and prints the answer."""
    lines = ["xs = list(map(int, input().split()))", *(f"xs = {stage}" for stage in problem.stages)]
    question = f"You are given a line of integers. {problem.asked.format(verb='Print')}"
    return question, "\n".join([*lines, f"print({problem.end})"])


def call_based(problem: Problem, name: str) -> tuple[str, str]:
    """The question and the function `name` that takes the integers as a list and returns the answer."""
    lines = [f"def {name}(xs):", *(f"    xs = {stage}" for stage in problem.stages), f"    return {problem.end}"]
    question = f"Write `{name}`, which takes a list of integers `xs`. {problem.asked.format(verb='Return')}"
    return question, "\n".join(lines)
