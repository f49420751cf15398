"""What a model writes, while it writes, and a way to stop it. Changes no answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer


@contextmanager
def stoppable(model: nn.Module, check: Callable[[], None]) -> Iterator[None]:
    """Inside, `check` is called before the model reads or writes a token; what it raises ends the generation."""
    # On the embeddings: they are the one layer that every way to generate goes through for each token.
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda *_: check())
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def heard(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, written: Callable[[str], None] | None
) -> Iterator[None]:
    """Inside, `written` hears the text of one greedy answer after each token. None: nobody listens, as with beams."""
    if written is None:
        yield
        return
    # On the model itself, for what is called has to stay `generate.completions`, the study's own way.
    usual = model.generate
    model.generate = partial(usual, streamer=_Text(tokenizer, written))
    try:
        yield
    finally:
        del model.generate


class _Text(BaseStreamer):
    """Tokens to the text so far; what transformers puts first is the prompt."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, written: Callable[[str], None]):
        self.tokenizer, self.written = tokenizer, written
        self.ids: list[int] | None = None

    def put(self, value: torch.Tensor) -> None:
        if self.ids is None:
            self.ids = []
            return
        self.ids += value.flatten().tolist()
        text = self.tokenizer.decode(self.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        self.written(text.rstrip("\ufffd"))  # a letter whose last bytes are still to come

    def end(self) -> None:
        pass
