"""Small models of real architectures with random weights, and a tokenizer trained on the spot."""

import gc
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    CodeGenConfig,
    GPT2Config,
    LlamaConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Starcoder2Config,
    T5Config,
)

from nblib import presets, study, tasks
from nblib.tasks import Data, Example
from nblib.train import checkpoints

EXAMPLES = tuple(
    Example(str(number), f"add {number} to list `xs{number % 7}`", f"xs{number % 7}.append({number})")
    for number in range(40)
)
DATA = Data(EXAMPLES[:24], EXAMPLES[24:32], EXAMPLES[32:], content="small")

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
GROUPED = SIZES | {"num_key_value_heads": 2}
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "qwen2": Qwen2Config(**GROUPED),
    "codegen": CodeGenConfig(n_embd=32, n_layer=2, n_head=4, rotary_dim=4, n_positions=256, n_ctx=256),
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256),
    # Of its defaults, 32000 is no token of a small vocabulary.
    "phi3": Phi3Config(**GROUPED, bos_token_id=0, eos_token_id=1, pad_token_id=2),
    "starcoder2": Starcoder2Config(**GROUPED, bos_token_id=0, eos_token_id=1),
    "t5": T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=2),
}
needs_torchao = pytest.mark.skipif(not find_spec("torchao"), reason="needs torchao: pip install nblib[torchao]")


def tokenizer(*, pad: str | None = "<pad>") -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that begins texts with <s>; without `pad` it has none, as GPT-2's."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>"] + ([pad] if pad else [])
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator((f"{example.intent}\n{example.code}" for example in EXAMPLES), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, bos_token="<s>", eos_token="</s>", pad_token=pad, padding_side="left"
    )


def model(family: str = "llama", *, vocabulary: int = 420, seed: int = 0):
    """A model of that family with random weights."""
    torch.manual_seed(seed)
    config = type(CONFIGS[family])(**{**CONFIGS[family].to_diff_dict(), "vocab_size": vocabulary})
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 0, 1, 2
    made_by = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return made_by.from_config(config).eval()


def folder(path, family: str = "llama", **settings) -> str:
    """That model and tokenizer as a local folder."""
    model(family, **settings).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return str(path)


def rows(place) -> str:
    """DATA as CoNaLa's files, in a new folder."""
    place.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        found = [{"nl": example.intent, "cmd": example.code} for example in getattr(DATA, split)]
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(place)


def base_and_data(place) -> tuple[str, str]:
    """A small model and DATA, in new folders of these names."""
    return folder(place / "base"), rows(place / "data")


def said_by(program: str | Path, *given, **environment: str) -> dict:
    """The JSON in the last line of what a program beside this file prints; it finds what tests find."""
    here = Path(__file__).parent
    environment = {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])} | environment
    command = [sys.executable, str(here / program), *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def plan(patch, place, preset) -> list:
    """The runs of a preset for a small model and DATA, both in new folders."""
    patch.setitem(presets.PRESETS, "small", preset)
    model, data_dir = base_and_data(place)
    return study.plan(study.compare(model, "conala", preset="small", precision="fp32", data_dir=data_dir))


def often(patch) -> None:
    """A checkpoint at every evaluation, short answers, no garbage collection: most of the time of such small runs."""
    patch.setattr(checkpoints, "MIN_INTERVAL_SECONDS", 0)
    patch.setattr(checkpoints, "MAX_OVERHEAD", math.inf)
    patch.setitem(tasks.TASKS, "conala", replace(tasks.TASKS["conala"], output_tokens=16))
    patch.setattr(gc, "collect", lambda *_: 0)
