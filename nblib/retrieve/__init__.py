"""Training examples to shots: seeded random, or the nearest to each query. Sees no test split and builds no prompts."""

from nblib.retrieve.choosing import Found, nearest, random_shots
from nblib.retrieve.recall import recall
from nblib.retrieve.requirements import require
from nblib.tasks import near_duplicate

__all__ = ["Found", "near_duplicate", "nearest", "random_shots", "recall", "require"]
