"""Study files run by two processes that are launched together, with what each training noted of its losses.

torchrun … launched_run.py STORE NOTED STUDY…, as accelerate launch starts processes on GPUs.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from nblib import models, run, train
from nblib.train import checkpoints

fit, begin = train.fit, AcceleratorState.__init__


def main(store: str, studies: Sequence[str]) -> list[dict]:
    """Losses of each training, and what its weights were."""
    found = []

    def noted(model, *given, **named):
        fitted = fit(model, *given, **named)
        kinds = sorted({type(weight).__name__ for weight in model.parameters()})
        found.append({"train": fitted.train_loss, "validation": fitted.validation_losses, "weights": kinds})
        return fitted

    often = {"MIN_INTERVAL_SECONDS": 0.0, "MAX_OVERHEAD": math.inf}  # a checkpoint at each validation
    with patch.object(train, "fit", noted), patch.multiple(checkpoints, **often):
        for study in studies:
            assert run.main([study, "--store", store, "--processes", "1"]) == 0
    return found


def as_on_gpus(self, *given, **named):
    """accelerate splits weights only where it finds GPUs; gloo can do it, too."""
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    begin(self, *given, **named)


def write_noted(store: str, path: str, *studies: str) -> None:
    noted = main(store, studies)
    Path(f"{path}.{models.rank()}").write_text(json.dumps(noted))


if __name__ == "__main__":
    if models.is_split():
        AcceleratorState.__init__ = as_on_gpus
    write_noted(*sys.argv[1:])
