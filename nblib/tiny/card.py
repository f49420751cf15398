"""The model card of the embedded model, from its recipe and its training log; no training."""

from pathlib import Path

ABILITIES = {
    "known_operation": "(a) follows an instruction for an operation it has seen, without examples",
    "style_from_shots": "(b) takes an unseen answer style from three examples in the prompt",
    "copied_syllables": "(c) copies a made-up API of syllables from one example",
    "copied_words": "(c) copies a made-up API of real words from one example, beside a distractor",
    "copied_library": "(c) copies a real API that it never saw, in an unseen style, among three examples",
    "unseen_library": "for comparison: the same APIs without an example",
}

_CARD = """---
license: mit
library_name: transformers
pipeline_tag: text-generation
tags: [code, llama]
---

# {name}: {role} of nblib

A Llama-architecture code model of {millions:.2f} million parameters ({layers} layers, width {hidden}, vocabulary
{vocabulary}, context {context} tokens), with a byte-level BPE tokenizer of its own. It exists so that every comparison
of nblib runs on two CPU cores without a download. It knows little Python and is of no use as an assistant.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model, tokenizer = (
    AutoModelForCausalLM.from_pretrained("{place}"),
    AutoTokenizer.from_pretrained("{place}"),
)
```

## How it was made

`python -m nblib.tiny model{option}` makes it from seed {seed}: this repository generates the text (`nblib/tiny/text.py`),
trains the tokenizer on it and the model on {tokens:.1f} million tokens (padding included) in {steps} steps of
{batch_tokens} tokens: loss on answers only, bf16 autocast, Muon on the hidden matrices (learning rate
{matrix_learning_rate:g}), AdamW on the rest ({learning_rate:g}), warm-up, constant, linear decay over
the last {decay_steps} steps.
The final smoothed training loss was {loss:.3f}. On two CPU cores that were also used for other work it took
{minutes:.0f} minutes. Embeddings and head shared one matrix in training and are stored apart, as CodeLlama's are.
Another processor rounds differently, so weights made elsewhere are close to these, not equal.

The text holds {known} common Python operations in several phrasings, invented operations that recur inside a document,
and short programs over lists. Answer styles change from document to document. The sample tasks' answer style,
{new} further operations and one phrasing of each known operation are kept out of it.

## What it can do

Share of {questions} held-out questions answered exactly by greedy decoding, measured at the end of training:

| ability | answered |
| --- | --- |
{rows}

The whole log is in `training.json`. Licence: MIT, as all of nblib.
"""


def write(folder: Path, training: dict, *, parameters: int, counts: dict[str, int]) -> None:
    """README.md for the model in `folder`; `training` is the content of its training.json."""
    small = training.get("name", "tiny") != "tiny"
    recipe, last = training["recipe"], training["log"][-1]
    rows = "\n".join(f"| {meaning} | {100 * last[name]:.1f} % |" for name, meaning in ABILITIES.items())
    text = _CARD.format(
        **{name: value for name, value in recipe.items() if name not in ("steps",)},
        steps=last["step"],
        millions=parameters / 1e6,
        name="micro" if small else "tiny",
        role="the smaller sibling of the embedded model" if small else "the embedded model",
        option=" --name micro" if small else "",
        place=f"data/models/{'micro' if small else 'tiny'}",
        tokens=last["tokens"] / 1e6,
        loss=last["loss"],
        minutes=last["seconds"] / 60,
        rows=rows,
        **counts,
    )
    (folder / "README.md").write_text(text)
