"""What a training costs elsewhere: the loss on held-out texts of other kinds, before it and after."""

import math

from torch import nn

from nblib import tasks, train
from nblib.study.fitting import Base, Record
from nblib.study.planning import Planned

PHASE = "elsewhere"  # of a run's costs, and its note
# Of each kind of text, batches of encoded rows, a hash of the texts, and the base's loss on them in nats per token.
Kinds = dict[str, tuple[list[list[dict]], str, float]]


def before(planned: Planned, base: Base, record: Record) -> Kinds:
    """The texts for a training, by kind; empty where nothing is trained, and with random weights.

    The base reads them once for all trainings on it. We leave out a kind on which it is no better than a guess among
    all tokens: it has nothing to forget there.
    """
    run, found = planned.run, Kinds()
    if not run.training or run.shape_only:
        return found
    place = f"{run.data_dir}/{run.train_task}" if run.data_dir and run.train_task else run.data_dir
    trained = "" if run.user_data else run.train_task or run.task
    with record.phase(PHASE):
        for name, (task, examples) in tasks.elsewhere(trained, place).items():
            batches = _batches(planned, base, task, examples, run.training.device_batch)
            content = tasks.content([examples])
            key = (base.key, content, len(batches))
            if batches and key not in base.losses:
                base.losses[key] = _loss(planned, base, base.model, batches)
            if batches and base.losses[key] < math.log(len(base.tokenizer)):
                found[name] = batches, content, base.losses[key]
    return found


def after(planned: Planned, base: Base, model: nn.Module, kinds: Kinds, record: Record) -> None:
    """Notes the losses with the trained method on the base, beside those before."""
    if kinds:
        earlier = {end: record.costs[f"{PHASE}_{end}"] for end in ("seconds", "peak_bytes", "reserved_bytes")}
        with record.phase(PHASE, earlier):
            record.notes[PHASE] = {
                name: {"before": known, "after": _loss(planned, base, model, batches), "content": content}
                for name, (batches, content, known) in kinds.items()
            }


def _loss(planned: Planned, base: Base, model: nn.Module, batches: list[list[dict]]) -> float:
    return train.mean_loss(model, batches, base.tokenizer.pad_token_id, precision=planned.run.precision)


def _batches(
    planned: Planned, base: Base, task: tasks.Task, examples: tuple[tasks.Example, ...], most: int
) -> list[list[dict]]:
    """The encoded rows, the longest first; no more tokens at a time than `most` rows of the task may have."""
    seq2seq, own = base.model.config.is_encoder_decoder, tasks.trained(planned.run)
    rows = train.encode_all(examples, base.tokenizer, task, encoder_decoder=seq2seq)
    rows.sort(key=train.tokens, reverse=True)
    room, longest = (limits.input_tokens + limits.output_tokens for limits in (own, task))
    size = max(1, most * min(room, longest) // longest)
    return [rows[start : start + size] for start in range(0, len(rows), size)]
