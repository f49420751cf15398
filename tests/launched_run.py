"""A study file run by processes that are launched together, with what each training noted of its losses.

torchrun … launched_run.py STUDY STORE LOSSES, as accelerate launch starts processes on GPUs
"""

import json
import sys
from pathlib import Path

from nblib import run, train
from nblib.models import launched
from nblib.study import fitting

fit, found = train.fit, []


def noted(*given, **named):
    fitted = fit(*given, **named)
    found.append({"train_loss": fitted.train_loss, "validation_losses": fitted.validation_losses})
    return fitted


fitting.train.fit = noted
code = run.main([sys.argv[1], "--store", sys.argv[2], "--processes", "1"])
Path(f"{sys.argv[3]}.{launched.rank()}").write_text(json.dumps(found))
raise SystemExit(code)
