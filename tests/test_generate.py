"""Completions hang on nothing but the prompt, end by themselves, and no token is read twice."""

from collections import Counter

import pytest
import small
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, MistralConfig, RobertaTokenizer, T5Config

from nblib import generate, methods, models, prompts, spec, train
from nblib.generate import cache

PROMPTS = [
    "### Instruction:\nadd 3 to list `xs1`\n### Response:\n",
    "### Instruction:\nadd\n### Response:\n",
    "### Instruction:\nadd 3 to list `xs1` and 4 to list `xs2` and 5 to list `xs3`\n### Response:\n",
    "### Instruction:\nsort\n### Response:\n",
    "### Instruction:\nsort the list `xs1`\n### Response:\n",
]


def answers(model, tokenizer, texts, *, stops=("\n",), new_tokens=12, seed=1, **decoding):
    settings = spec.Decoding(**({"beams": 1, "returned": 1} | decoding))
    found = generate.completions(
        model, tokenizer, texts, settings, new_tokens=new_tokens, stops=stops, precision="fp32", seed=seed
    )
    return {index: texts for index, texts, _ in found}


def read(tokenizer, ids, ends=(1,)) -> list[str]:
    """Rows of new tokens as text up to their end, for which random weights write special tokens before it as well."""
    texts = []
    for row in ids.tolist():
        end = next((place for place, id in enumerate(row) if id in ends), len(row))
        while end and row[end - 1] == tokenizer.pad_token_id:
            end -= 1
        texts.append(tokenizer.decode(row[:end]))
    return texts


@pytest.mark.parametrize("kind", ["zero-shot", "lora", "ia3", "prompt-tuning", "prefix-tuning"])
@pytest.mark.parametrize("decoding", [{}, {"beams": 4, "returned": 4}, {"temperature": 0.8, "returned": 3}], ids=str)
def test_answers_do_not_depend_on_the_batch(kind, decoding):
    tokenizer, model = small.tokenizer(), small.model(seed=3)
    if kind != "zero-shot":
        model = methods.attach(model, spec.method(kind), tokenizer, seed=1)
    together = answers(model, tokenizer, PROMPTS, batch_size=5, **decoding)
    alone = answers(model, tokenizer, PROMPTS, batch_size=1, **decoding)
    assert together == alone
    assert sorted(together) == [0, 1, 2, 3, 4]


SHOTS = "### Instruction:\nadd 7 to list `xs7`\n### Response:\nxs7.append(7)\n\n"
DECODER_ONLY = [family for family, config in small.CONFIGS.items() if not config.is_encoder_decoder]


def tokens_read(model) -> list[int]:
    """Grows by the tokens of every forward pass that reads prompts; beams come with a mask of their own."""
    seen: list[int] = []

    def count(module, args, kwargs):
        mask = kwargs.get("attention_mask")
        if kwargs["input_ids"].shape[1] > 1 and (mask is None or mask.dim() < 4):
            seen.append(kwargs["input_ids"].numel())

    model.register_forward_pre_hook(count, with_kwargs=True)
    return seen


@pytest.mark.parametrize(("family", "beams"), [("llama", 1), ("codegen", 4), ("phi3", 1), ("gpt2", 4)])
def test_shots_that_are_encoded_once_give_the_same_answers(family, beams, monkeypatch):
    tokenizer, model = small.tokenizer(), small.model(family, seed=3)
    queries = [SHOTS + prompt for prompt in PROMPTS]
    read = tokens_read(model)
    shared = answers(model, tokenizer, queries, beams=beams, returned=beams, batch_size=2)
    together = sum(read)
    monkeypatch.setattr(cache, "MIN_SHARED_TOKENS", 10_000)
    assert shared == answers(model, tokenizer, queries, beams=beams, returned=beams, batch_size=2)
    assert together < sum(read) - together


def test_what_all_prompts_of_a_run_begin_with_is_read_once():
    tokenizer, model = small.tokenizer(), small.model(seed=3)
    encoded = [tokenizer(SHOTS + prompt)["input_ids"] for prompt in PROMPTS]
    shared = cache.shared_prefix(encoded)
    read = tokens_read(model)
    answers(model, tokenizer, [SHOTS + prompt for prompt in PROMPTS], batch_size=1)
    own = sorted((len(ids) - shared - 1 for ids in encoded), reverse=True)  # the last token is read beam by beam
    assert read == [shared, *own]


@pytest.mark.parametrize("window", [24, 4096])
@pytest.mark.parametrize("beams", [1, 4])
def test_models_that_look_back_a_window_only_share_where_it_holds_all(beams, window, monkeypatch):
    torch.manual_seed(3)
    config = MistralConfig(
        vocab_size=420,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        sliding_window=window,
    )
    tokenizer, model = small.tokenizer(), AutoModelForCausalLM.from_config(config).eval()
    queries = [SHOTS + prompt for prompt in PROMPTS]
    read = tokens_read(model)
    shared = answers(model, tokenizer, queries, beams=beams, returned=beams, batch_size=2)
    assert len(read) == (4 if window == 4096 else 3)  # the shared beginning, then three batches
    monkeypatch.setattr(cache, "MIN_SHARED_TOKENS", 10_000)
    assert shared == answers(model, tokenizer, queries, beams=beams, returned=beams, batch_size=1)


@pytest.mark.parametrize(
    "decoding", [{"beams": 1}, {"beams": 4, "returned": 4}, {"beams": 1, "temperature": 1e-4, "returned": 2}], ids=str
)
def test_answers_of_an_encoder_decoder_do_not_depend_on_the_batch(decoding):
    tokenizer, model = small.tokenizer(), varied_t5()
    together = answers(model, tokenizer, PROMPTS, batch_size=5, **decoding)
    assert together == answers(model, tokenizer, PROMPTS, batch_size=1, **decoding)
    assert len({texts[0] for texts in together.values()}) > 1
    assert {len(texts) for texts in together.values()} == {decoding.get("returned", 1)}


def varied_t5():
    """Its weights are larger than new ones are, so that answers follow the prompt; special tokens are unlikely."""
    model = small.model("t5", seed=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
        model.lm_head.weight[:3] = 0
    return model


def test_an_encoder_reads_each_prompt_once_whatever_the_beams():
    tokenizer, model = small.tokenizer(), varied_t5()
    rows = []
    model.encoder.register_forward_hook(lambda module, args, output: rows.append(len(output[0])))
    answers(model, tokenizer, PROMPTS, beams=4, returned=4, batch_size=3)
    assert rows == [3, 2]


def test_an_encoder_decoder_answers_as_its_own_generation_does_until_a_stop_string():
    tokenizer, model = small.tokenizer(), varied_t5()
    ids = tokenizer(PROMPTS[2], return_tensors="pt")["input_ids"]
    settings = {"new_tokens": 8, "stops": ("never said",), "precision": "fp32", "seed": 1}
    ((_, (free,), count),) = generate.completions(model, tokenizer, PROMPTS[2:3], spec.Decoding(1, 1), **settings)
    assert [free] == read(tokenizer, model.generate(ids, max_new_tokens=8, do_sample=False)[:, 1:]) != [""]
    assert count == 8  # without the decoder's start
    stop = free[len(free) // 2]
    (stopped,) = answers(model, tokenizer, PROMPTS[2:3], stops=(stop,))[0]
    assert stop in stopped
    assert free.startswith(stopped)


def test_a_model_stops_at_any_of_its_end_tokens():
    tokenizer, model = small.tokenizer(), small.model(seed=3)
    prompt = tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"]
    free = model.generate(prompt, max_new_tokens=12, do_sample=False)[0, prompt.shape[1] :].tolist()
    model.generation_config.eos_token_id = [1, free[1]]
    found = answers(model, tokenizer, PROMPTS[:1], stops=("never said",))[0]
    assert found == [tokenizer.decode(free[:1])]
    assert free[0] != free[1]


def saying(text: str | list[int], prompt: str | prompts.Prompt, tokenizer):
    """A model that answers the prompt with that text, or those tokens, and an end token."""
    model = small.model(seed=3, vocabulary=max(420, len(tokenizer)))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] if isinstance(text, str) else text
    begun = len(tokenizer(prompt)["input_ids"]) if isinstance(prompt, str) else prompt.tokens
    whole = model.generate

    def says(input_ids, scores):
        following = torch.tensor([[*ids, tokenizer.eos_token_id][input_ids.shape[1] - begun]])
        return torch.full_like(scores, -1e9).index_fill(1, following, 0.0)

    model.generate = lambda **settings: whole(**settings, logits_processor=[says])
    return model


def test_code_is_not_cleaned_up_as_prose_would_be():
    tokenizer = small.tokenizer()
    tokenizer.clean_up_tokenization_spaces = True
    tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    model = saying("a != b", PROMPTS[1], tokenizer)
    assert answers(model, tokenizer, [PROMPTS[1]])[0] == ["a != b"]


def test_a_chat_model_stops_where_it_closes_the_fence():
    tokenizer = small.tokenizer()
    model = saying("x = 1\n```\nThis sets x.", PROMPTS[1], tokenizer)
    (text,) = answers(model, tokenizer, [PROMPTS[1]], stops=("never said",), new_tokens=40)[0]
    assert text.endswith("This sets x.")
    tokenizer.chat_template = "{% for turn in messages %}[{{ turn.role }}]{{ turn.content }}{{ eos_token }}{% endfor %}"
    (text,) = answers(model, tokenizer, [PROMPTS[1]], stops=("never said",), new_tokens=40)[0]
    assert text == "x = 1\n```"


def test_each_answer_ends_by_itself_at_a_stop_string():
    tokenizer, model = small.tokenizer(), small.model(seed=3)
    free = answers(model, tokenizer, PROMPTS, stops=("never said",))
    stop = next(text[3] for text, *_ in free.values() if len(text) > 6)
    stopped = answers(model, tokenizer, PROMPTS, stops=(stop,))
    for index, (text,) in stopped.items():
        whole = free[index][0]
        assert whole.startswith(text)
        if stop in whole.replace("<pad>", ""):
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
    fewer = answers(model, tokenizer, PROMPTS[:3], temperature=1.0, returned=2, seed=1)
    assert fewer == {index: first[index][:2] for index in fewer}


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_tokens_are_drawn_as_often_as_the_model_says(top_p):
    tokenizer, model = small.tokenizer(), small.model(seed=3)
    model.lm_head.weight.data.mul_(40)  # so that some are far likelier than others
    ids = torch.tensor([tokenizer(PROMPTS[1])["input_ids"]])
    likely = torch.softmax(model(ids).logits[0, -1].double() / 0.8, -1).sort(descending=True)
    kept = likely.values.where(likely.values.cumsum(0) - likely.values < top_p, 0)
    sampling = {"temperature": 0.8, "top_p": top_p, "returned": 4000, "new_tokens": 1, "stops": ("never said",)}
    texts, shares = answers(model, tokenizer, [PROMPTS[1]], **sampling)[0], Counter()
    for id, share in zip(likely.indices.tolist(), (kept / kept.sum()).tolist(), strict=True):
        shares["" if id in (1, 2) else tokenizer.decode([id])] += share  # some bytes read the same
    for text, share in shares.most_common(12):
        drawn = texts.count(text) / len(texts)
        assert drawn == pytest.approx(share, abs=4 * (share * (1 - share) / len(texts)) ** 0.5)


def test_int8_on_a_cpu_answers_by_the_function_that_was_trained_whatever_the_batch(tmp_path):
    model, tokenizer = models.load(small.folder(tmp_path), "int8")
    ids = tokenizer(PROMPTS, return_tensors="pt", padding=True)["input_ids"]
    with torch.inference_mode():
        assert model.train()(ids).logits.equal(model.eval()(ids).logits)
    together = answers(model, tokenizer, PROMPTS, beams=4, returned=4, batch_size=5)
    assert together == answers(model, tokenizer, PROMPTS, beams=4, returned=4, batch_size=1)


def test_a_model_with_codet5s_tokenizer_trains_and_answers_without_its_special_tokens(tmp_path):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "<mask>", *letters])}
    RobertaTokenizer(vocab=vocabulary, merges=[]).save_pretrained(tmp_path)
    config = small.CONFIGS["t5"].to_diff_dict() | {"vocab_size": len(vocabulary), "dropout_rate": 0.0}
    config |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 0}
    torch.manual_seed(0)
    AutoModelForSeq2SeqLM.from_config(T5Config(**config)).save_pretrained(tmp_path)
    model, tokenizer = models.load(str(tmp_path))
    example = small.EXAMPLES[3]
    rows = [train.encode(example, tokenizer, encoder_decoder=True)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        model(**train.collate(rows, tokenizer.pad_token_id)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    found = answers(model, tokenizer, [prompts.query_text(example, tokenizer)], new_tokens=30, beams=2, returned=2)
    assert found[0][0] == example.code
    ids = model.generate(torch.tensor([rows[0]["input_ids"]]), max_new_tokens=30, do_sample=False)[0].tolist()
    assert ids == [0, *rows[0]["labels"]]  # <s> is learned, too
