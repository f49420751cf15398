"""Makes an embedded model: tokenizer and weights, from generated text and a seed, and measures what it can do.

Loss is taken on answers only. Batches hold documents of similar length, so no document sees another one.
"""

import json
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from nblib.prompts import SEPARATOR
from recipes import questions, text
from recipes.questions import KNOWN, NEW, Operation

IGNORE_INDEX = -100  # label of a token without loss


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the embedded model."""

    seed: int = 42
    vocabulary: int = 1024  # a small one makes in-context copying appear
    hidden: int = 192
    layers: int = 4
    heads: int = 4
    feed_forward: int = 512
    context: int = 1024  # tokens
    tied: bool = True  # embeddings and head share their matrix while training
    steps: int = 4200
    batch_tokens: int = 8192
    matrix_learning_rate: float = 5e-3  # Muon, on the hidden matrices
    learning_rate: float = 3e-3  # AdamW, on embeddings and norms
    warmup_steps: int = 140
    decay_steps: int = 1800  # the last ones, linear to zero
    curriculum_steps: int = 7000  # to the end of the text's progress; from 1,995 on it does not change any more
    report_every: int = 250  # steps


RECIPES = {
    "tiny": Recipe(),
    "micro": Recipe(hidden=48, layers=2, feed_forward=128),  # the small model of RQ3, on the same text
}


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with another number of steps, its phases in proportion."""
    phases = ("warmup_steps", "decay_steps", "curriculum_steps")
    scaled = {name: max(1, round(steps / recipe.steps * getattr(recipe, name))) for name in phases}
    return replace(recipe, steps=steps, **scaled)


def make_tokenizer(recipe: Recipe) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer in which a word has the same tokens everywhere.

    White space is never merged into words: a name in backquotes and the same name after a space are then the same
    tokens, which is what a small model needs in order to copy.
    """
    words = Regex(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]|\n +|\s+|[^\sA-Za-z0-9]")
    split = pre_tokenizers.Split(words, behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    _train_tokenizer(tokenizer, recipe)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=recipe.context,
        clean_up_tokenization_spaces=False,
    )


def _train_tokenizer(tokenizer: Tokenizer, recipe: Recipe) -> None:
    headings = ("### Instruction:", "### Response:")  # of the study's template: one token instead of three
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary - len(headings),
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = random.Random(f"tokenizer {recipe.seed}")
    corpus = ("".join(block.prompt + block.answer for block in text.document(rng, 0.9)) for _ in range(20_000))
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(heading, normalized=False) for heading in headings])


def make_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained model."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=recipe.feed_forward,
        max_position_embeddings=recipe.context,
        tie_word_embeddings=recipe.tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


Encoded = tuple[list[int], list[int]]  # token ids of a document and their labels


def encode(blocks: list[text.Block], tokenizer: PreTrainedTokenizerFast) -> Encoded:
    """Token ids of a document and its labels: answers only, `IGNORE_INDEX` elsewhere.

    The first answer ends with the end-of-sequence token, later ones with the separator, and neither ending is learned
    elsewhere: so zero-shot answers end by themselves and few-shot answers end as their examples do.
    """
    ids, labels = [tokenizer.bos_token_id], [IGNORE_INDEX]
    pieces = [piece for block in blocks for piece in (block.prompt, block.answer, SEPARATOR)]
    encoded = tokenizer(pieces, add_special_tokens=False)["input_ids"]
    single = len(blocks) == 1
    for index, block in enumerate(blocks):
        prompt, answer, separator = encoded[3 * index : 3 * index + 3]
        ending = [tokenizer.eos_token_id] if single else separator
        ids += prompt + answer + ending
        labels += [IGNORE_INDEX] * len(prompt)
        labels += answer if block.learned else [IGNORE_INDEX] * len(answer)
        labels += ending if single or index > 0 else [IGNORE_INDEX] * len(ending)
    return ids, labels


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields (ids, labels) for every step, each of shape (documents, tokens), right-padded."""
    rng = random.Random(recipe.seed)
    waiting: list[list[Encoded]] = []
    for step in range(recipe.steps):
        if not waiting:
            waiting = _similar_lengths(recipe, tokenizer, rng, step / recipe.curriculum_steps)
        yield _padded(waiting.pop(), tokenizer.pad_token_id)


def _similar_lengths(
    recipe: Recipe, tokenizer: PreTrainedTokenizerFast, rng: random.Random, progress: float
) -> list[list[Encoded]]:
    """About 16 batches of documents of similar length, in random order."""
    documents: list[Encoded] = []
    tokens = 0
    while tokens < 16 * recipe.batch_tokens:
        document = encode(text.document(rng, progress), tokenizer)
        if len(document[0]) <= recipe.context:
            documents.append(document)
            tokens += len(document[0])
    documents.sort(key=lambda document: len(document[0]))
    groups: list[list[Encoded]] = [[]]
    for document in documents:
        if _rounded(len(document[0])) * (len(groups[-1]) + 1) > recipe.batch_tokens:
            groups.append([])
        groups[-1].append(document)
    rng.shuffle(groups)
    return groups


def _rounded(length: int) -> int:
    """Few distinct shapes, because CPU kernels are prepared again for each."""
    return -(-length // 32) * 32


def _padded(group: list[Encoded], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = _rounded(max(len(ids) for ids, _ in group))
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in group])
    labels = torch.tensor([labels + [IGNORE_INDEX] * (width - len(labels)) for _, labels in group])
    return ids, labels


def answer_loss(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the labelled tokens; logits are computed at their positions only."""
    # Right-padding needs no mask under causal attention: no labelled position sees a pad.
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    labelled = targets != IGNORE_INDEX
    return cross_entropy(model.lm_head(hidden[labelled]).float(), targets[labelled])


# --- what the model must be able to do, on questions that it never saw -----------------------------------------------

QUESTIONS = 150
_EXPRESSIONS = [operation for operation in KNOWN if not operation.statement]
_UNSEEN_STYLE = questions.line("answer = {code}")  # no document of the pre-training text uses it
Operations = Callable[[random.Random], list[Operation]]  # of the examples in the prompt, then of the question


def _among(rng: random.Random, shown: list[Operation]) -> list[Operation]:
    """All of them as examples in random order, then the first as the question."""
    return [*rng.sample(shown, len(shown)), shown[0]]


# What each one shows is said in data/recipes/model_card.md.
PROBES: dict[str, tuple[questions.Style, Operations]] = {
    "known_operation": (questions.bare, lambda rng: [rng.choice(KNOWN)]),
    "style_from_shots": (_UNSEEN_STYLE, lambda rng: rng.sample(_EXPRESSIONS, 4)),
    "copied_syllables": (questions.bare, lambda rng: [text.syllable_operation(rng)] * 2),
    "copied_words": (questions.bare, lambda rng: _among(rng, [text.realistic_operation(rng), rng.choice(KNOWN)])),
    "copied_library": (
        _UNSEEN_STYLE,
        lambda rng: _among(rng, [rng.choice(NEW), *rng.sample(KNOWN, 2)]),
    ),
    "unseen_library": (questions.bare, lambda rng: [rng.choice(NEW)]),
}


def measure(model, tokenizer) -> dict[str, float]:
    """Share of questions answered exactly by greedy decoding, by the probe's name, 0 to 1."""
    model.eval()
    shares = {name: _exact_share(model, tokenizer, name) for name in PROBES}
    model.train()
    return shares


def draw(name: str) -> list[tuple[str, str]]:
    """A probe's questions as prompts with the expected answers, always the same ones."""
    rng = random.Random(f"probe _{name}")
    style, operations = PROBES[name]
    drawn = []
    for _ in range(QUESTIONS):
        *shots, query = [text.block(rng, operation, style) for operation in operations(rng)]
        drawn.append(("".join(shot.prompt + shot.answer + SEPARATOR for shot in shots) + query.prompt, query.answer))
    return drawn


@torch.inference_mode()
def _exact_share(model, tokenizer, name: str) -> float:
    """Greedy decoding gives the answer exactly where each of its tokens is the likeliest one after the true prefix."""
    correct = 0
    for prompt, answer in draw(name):
        prefix = [tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
        expected = tokenizer(answer, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prefix + expected], device=model.device)
        logits = model(input_ids=ids, logits_to_keep=len(expected) + 1).logits[0, :-1]
        correct += logits.argmax(-1).tolist() == expected
    return round(correct / QUESTIONS, 3)


def fit(recipe: Recipe, folder: Path, device: str, *, name: str = "tiny") -> None:
    """Trains the model and saves it with its tokenizer and its log in `folder`; `name` is for its card."""
    tokenizer = make_tokenizer(recipe)
    model = make_model(recipe, tokenizer).to(device)
    optimizers = _optimizers(recipe, model)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(recipe, step)) for optimizer in optimizers
    ]
    log, tokens, smooth, start = [], 0, math.nan, time.monotonic()
    for step, (ids, labels) in enumerate(batches(recipe, tokenizer), start=1):
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = answer_loss(model, ids.to(device), labels.to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        tokens += ids.numel()
        smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
        if step % recipe.report_every == 0 or step == recipe.steps:
            row = {"step": step, "tokens": tokens, "loss": round(smooth, 4), "seconds": round(time.monotonic() - start)}
            log.append(row | measure(model, tokenizer))
            print(json.dumps(log[-1]), flush=True)
            _save(model, tokenizer, {"name": name, "recipe": asdict(recipe), "log": log}, folder)


def _optimizers(recipe: Recipe, model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=recipe.matrix_learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _rate(recipe: Recipe, step: int) -> float:
    """Warm-up, constant, linear decay."""
    return min(1.0, (step + 1) / recipe.warmup_steps, (recipe.steps - step) / recipe.decay_steps)


def _save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, training: dict, folder: Path) -> None:
    """Weights in bf16, so that the repository stays small, and with a head of their own, as CodeLlama has."""
    folder.mkdir(parents=True, exist_ok=True)
    untied = make_model(replace(Recipe(**training["recipe"]), tied=False), tokenizer)
    untied.load_state_dict(model.state_dict())  # its state dict names the shared matrix twice
    untied.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps(training, indent=1) + "\n")
    (folder / "README.md").write_text(card(training, untied.num_parameters()), encoding="utf-8")


def card(training: dict, parameters: int) -> str:
    """The model card, from the content of training.json and the number of parameters."""
    recipe, last, name = training["recipe"], training["log"][-1], training.get("name", "tiny")
    percents = {probe: 100 * last[probe] for probe in PROBES}
    template = (questions.FOLDER / "model_card.md").read_text(encoding="utf-8")
    return template.format(
        **recipe | percents | {"name": name, "steps": last["step"]},
        millions=parameters / 1e6,
        tokens=last["tokens"] / 1e6,
        loss=last["loss"],
        minutes=last["seconds"] / 60,
        known=len(KNOWN),
        new=len(NEW),
        questions=QUESTIONS,
    )
