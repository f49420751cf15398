"""A cell that is interrupted in the middle of a study, in a real kernel: nothing stays in memory or locked."""

import json
import os
import queue
from pathlib import Path

import pytest
import small
from jupyter_client.manager import start_new_kernel

pytestmark = pytest.mark.slow
SECONDS = 300  # that a cell may take on a busy machine

PREPARE = """
import gc, json, sys, threading, torch, warnings
from dataclasses import replace
from pathlib import Path
from transformers import PreTrainedModel
from nblib import methods, results, spec, study

def held():
    "Models, and bytes of tensors, that are still in memory."
    gc.collect()
    warnings.simplefilter("ignore")  # of what torch has that is out of date
    alive = [each for each in gc.get_objects() if isinstance(each, (PreTrainedModel, torch.Tensor))]
    alive = [each for each in alive if each.device.type != "meta"]  # shapes without weights
    tensors = [each for each in alive if isinstance(each, torch.Tensor)]
    return len(alive) - len(tensors), sum(each.nbytes for each in tensors)

def kept(store):
    "What counts of the rows, and of the answers."
    return [(row.id, row.status, row.scores, results.predictions(store, row.id)) for row in results.read(store)]

runs = study.compare({model!r}, "conala", preset="default", names=["zero-shot", {method!r}], seeds=[1],
                     precision="fp32", data_dir={data!r})
brief = {{"epochs": 3, "batch_size": 4, "device_batch": 4, "optimizer": "adamw_torch", "evaluations_an_epoch": 1}}
runs = [replace(run, training=replace(run.training, **brief)) if run.training else run for run in runs]
runs = [replace(run, decoding=spec.Decoding(beams=1, returned=1)) for run in runs]
planned = study.plan(runs)
usual, step = getattr(methods.after_step, "usual", methods.after_step), 0

def told(model, count):
    usual(model, count)
    global step
    step += 1
    print("step", step, flush=True)
    if step == 7:
        threading.Event().wait()  # for the interrupt

methods.after_step, told.usual = told, usual
before, threads = held(), torch.get_num_threads()
"""
LOOK = """
left = [path.name for path in Path({store!r}).rglob("*") if ".locks" in path.parts]
print(json.dumps({{"held": held(), "before": before, "left": left, "threads": [threads, torch.get_num_threads()]}}))
"""
COMPARE = """
again = study.run_all(planned, {store!r})
study.run_all(planned, {other!r})
print(json.dumps([len(again), kept({store!r}) == kept({other!r})]))
"""


@pytest.fixture(scope="module")
def client():
    """A kernel as a notebook has it, which finds what tests find."""
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    manager, client = start_new_kernel(kernel_name="python3", env=os.environ | {"PYTHONPATH": paths})
    client.manager = manager
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code, *, interrupted_at=None):
    """What a cell prints, and the name of the error that ended it; interrupted when it prints that."""
    id, printed, error = client.execute(code), "", None
    while True:
        try:
            message = client.get_iopub_msg(timeout=SECONDS)
        except queue.Empty:
            raise AssertionError(f"the cell did not end; it had printed {printed[-1000:]}") from None
        if message["parent_header"].get("msg_id") != id:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            printed += content["text"]
            if interrupted_at and interrupted_at in printed:
                client.manager.interrupt_kernel()
                interrupted_at = None
        elif kind == "error":
            error = content["ename"]
            printed += "\n".join(content["traceback"])
        elif kind == "status" and content["execution_state"] == "idle":
            return printed, error


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_interrupted_training_leaves_no_model_and_no_lock_and_is_gone_on_with(client, tmp_path, method):
    data, store = small.rows(tmp_path / "data"), str(tmp_path / "store")
    prepared = PREPARE.format(model=small.folder(tmp_path / "base"), data=data, method=method)
    output, error = run(client, prepared)
    assert error is None, output
    output, error = run(client, f"study.run_all(planned, {store!r})", interrupted_at="step 7\n")
    assert error == "KeyboardInterrupt", output
    output, error = run(client, LOOK.format(store=store))
    assert error is None, output
    found = json.loads(output.splitlines()[-1])
    assert found["held"][0] == 0, "a model is still there"
    assert found["held"][1] < found["before"][1] + 50_000, "tensors are still there"  # the model has 180,000 bytes
    assert found["left"] == []
    assert found["threads"][0] == found["threads"][1]
    output, error = run(client, COMPARE.format(store=store, other=str(tmp_path / "undisturbed")))
    assert error is None, output
    assert json.loads(output.splitlines()[-1]) == [2, True]
