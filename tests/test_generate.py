import pytest
import small
import torch

from nblib import generate, methods, spec

PROMPTS = [
    "### Instruction:\nadd 3 to list `xs1`\n### Response:\n",
    "### Instruction:\nadd\n### Response:\n",
    "### Instruction:\nadd 3 to list `xs1` and 4 to list `xs2` and 5 to list `xs3`\n### Response:\n",
    "### Instruction:\nsort\n### Response:\n",
    "### Instruction:\nsort the list `xs1`\n### Response:\n",
]


def answers(model, tokenizer, prompts, *, stops=("\n",), new_tokens=12, seed=1, **decoding):
    settings = spec.Decoding(**({"beams": 1, "returned": 1} | decoding))
    found = generate.completions(
        model, tokenizer, prompts, settings, new_tokens=new_tokens, stops=stops, precision="fp32", seed=seed
    )
    return {index: texts for index, texts, _ in found}


@pytest.mark.parametrize("kind", ["zero-shot", "lora", "ia3", "prompt-tuning", "prefix-tuning"])
@pytest.mark.parametrize("beams", [1, 4])
def test_answers_do_not_depend_on_the_batch(kind, beams):
    tokenizer, model = small.tokenizer(), small.model(seed=3)
    if kind != "zero-shot":
        model = methods.attach(model, spec.method(kind), tokenizer, seed=1)
    together = answers(model, tokenizer, PROMPTS, beams=beams, returned=beams, batch_size=5)
    alone = answers(model, tokenizer, PROMPTS, beams=beams, returned=beams, batch_size=1)
    assert together == alone
    assert sorted(together) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("family", small.CONFIGS)
@pytest.mark.parametrize("beams", [1, 4])
def test_shots_that_are_encoded_once_give_the_same_answers(family, beams, monkeypatch):
    tokenizer, model = small.tokenizer(), small.model(family, seed=3)
    shots = "### Instruction:\nadd 7 to list `xs7`\n### Response:\nxs7.append(7)\n\n"
    prompts = [shots + prompt for prompt in PROMPTS]
    shared = answers(model, tokenizer, prompts, beams=beams, returned=beams, batch_size=5)
    monkeypatch.setattr(generate, "WORTH_SHARING", 10_000)
    assert shared == answers(model, tokenizer, prompts, beams=beams, returned=beams, batch_size=5)


def test_prompt_tuning_continues_as_if_its_text_were_written_there():
    tokenizer, model = small.tokenizer(), small.model(seed=3)
    text = "add 3 to list `xs1` and 4"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    written = model.generate(
        torch.tensor([ids + tokenizer(PROMPTS[0])["input_ids"]]), max_new_tokens=8, do_sample=False, pad_token_id=2
    )
    method = spec.PromptTuning(virtual_tokens=len(ids), initial_text=text)
    tuned = methods.attach(model, method, tokenizer, seed=1)
    found = answers(tuned, tokenizer, [PROMPTS[0]], stops=("never said",), new_tokens=8)
    assert found[0] == tokenizer.batch_decode(written[:, -8:], skip_special_tokens=True)


def test_each_answer_ends_by_itself_at_a_stop_string():
    tokenizer, model = small.tokenizer(), small.model(seed=3)
    free = answers(model, tokenizer, PROMPTS, stops=("never said",))
    stop = next(text[3] for text, *_ in free.values() if len(text) > 6)
    stopped = answers(model, tokenizer, PROMPTS, stops=(stop,))
    for index, (text,) in stopped.items():
        whole = free[index][0]
        assert whole.startswith(text)
        if stop in whole:
            assert stop in text
    assert any(len(stopped[index][0]) < len(free[index][0]) for index in stopped)


def test_the_longest_prompts_come_first_and_batches_hold_similar_lengths():
    encoded = [[0] * length for length in (3, 9, 4, 8, 3)]
    assert generate.batches(encoded, 2) == [[1, 3], [2, 0], [4]]
    assert generate.batches(encoded, 2, equal_lengths=True) == [[1], [3], [2], [0, 4]]


def test_as_many_answers_as_asked_for_come_back_the_likeliest_first():
    tokenizer, model = small.tokenizer(), small.model(seed=3)
    found = answers(model, tokenizer, PROMPTS, beams=4, returned=3)
    assert all(len(texts) == 3 for texts in found.values())
    best = answers(model, tokenizer, PROMPTS, beams=4, returned=1)
    assert all(found[index][0] == best[index][0] for index in found)


def test_sampling_follows_the_seed():
    tokenizer, model = small.tokenizer(), small.model(seed=3)
    first, again, other = (
        answers(model, tokenizer, PROMPTS, temperature=1.0, returned=3, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
