"""Our beam search, number for number that of transformers, and the study's rules for its end."""

import pytest
import small
import torch
from test_generate import DECODER_ONLY, PROMPTS, answers, read, varied_t5
from transformers import AutoModelForCausalLM, BloomConfig, GenerationConfig, StoppingCriteria, StoppingCriteriaList

from nblib import methods, spec
from nblib.generate import search

ENDS = [1, *range(20, 60)]  # many, so that answers of random weights end, and at different steps


def one_by_one(model, tokenizer, queries, count=4, *, ends=1, early=False, rule=()):
    """What transformers' own beam search answers."""
    settings = GenerationConfig(
        num_beams=count,
        num_return_sequences=count,
        max_new_tokens=12,
        early_stopping=early,
        eos_token_id=ends,
        pad_token_id=2,
        do_sample=False,
    )
    found = {}
    for index, prompt in enumerate(queries):
        inputs = tokenizer(prompt, return_tensors="pt")
        begun = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        criteria = StoppingCriteriaList([criterion(tokenizer, begun, count) for criterion in rule])
        ids = model.generate(**inputs, generation_config=settings, stopping_criteria=criteria)[:, begun:]
        found[index] = read(tokenizer, ids, [ends] if isinstance(ends, int) else ends)
    return found


@pytest.mark.parametrize("family", DECODER_ONLY)
@pytest.mark.parametrize("early", [True, False])
def test_queries_that_end_at_different_steps_get_what_transformers_gives_each(family, early):
    tokenizer, model = small.tokenizer(), small.model(family, seed=3)
    model.generation_config.eos_token_id = ENDS
    ours = answers(model, tokenizer, PROMPTS, beams=4, returned=4, stops=("never",), early_stopping=early)
    assert ours == one_by_one(model, tokenizer, PROMPTS, ends=ENDS, early=early)


def test_a_query_that_has_ended_is_not_read_any_more():
    tokenizer, model = small.tokenizer(), small.model(seed=3)
    model.generation_config.eos_token_id = ENDS
    rows = []
    model.register_forward_pre_hook(lambda _, args, given: rows.append(len(given["input_ids"])), with_kwargs=True)
    answers(model, tokenizer, PROMPTS, beams=4, returned=4, stops=("never",), early_stopping=True)
    steps = rows[rows.index(len(PROMPTS)) + 1 :]  # after the prompts
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) > 1


@pytest.mark.parametrize("kind", ["prompt-tuning", "prefix-tuning"])
def test_virtual_tokens_are_read_once_for_prompts_of_unequal_lengths(kind):
    tokenizer = small.tokenizer()
    model = methods.attach(small.model(seed=3), spec.method(kind), tokenizer, seed=1)
    rows = []
    inner = model.get_base_model()
    inner.register_forward_pre_hook(
        lambda _, args, given: rows.append(len(given.get("input_ids", given.get("inputs_embeds")))), with_kwargs=True
    )
    answers(model, tokenizer, PROMPTS, beams=4, returned=4, new_tokens=3)
    assert rows == [5, 5, 5, 5]  # the prompts, their last tokens, and two steps


class EveryBeamStopped(StoppingCriteria):
    """The study's rule, for one query, by the text of its beams."""

    def __init__(self, tokenizer, begun, count):
        self.tokenizer, self.begun, self.count = tokenizer, begun, count

    def __call__(self, input_ids, scores, **_):
        going_on = [ids for ids in input_ids if ids[-1] != 1][: self.count]
        texts = self.tokenizer.batch_decode([ids[self.begun :] for ids in going_on])
        return torch.full((len(input_ids),), all(any(stop in text for stop in STOPS) for text in texts))


STOPS = ("a", "1", "in", "9", "p")


@pytest.mark.parametrize("family", ["llama", "codegen", "t5"])
@pytest.mark.parametrize("early", [True, False])
def test_with_all_beams_a_search_ends_when_each_has_a_stop_string(family, early):
    tokenizer, model = small.tokenizer(), varied_t5() if family == "t5" else small.model(family, seed=3)
    settings = {"beams": 4, "returned": 4, "stops": STOPS, "early_stopping": early}
    ours = answers(model, tokenizer, PROMPTS, stop="all-beams", batch_size=3, **settings)
    assert ours == one_by_one(model, tokenizer, PROMPTS, early=early, rule=[EveryBeamStopped])
    assert ours != answers(model, tokenizer, PROMPTS, **settings)
    assert ours != answers(model, tokenizer, PROMPTS, **settings | {"stops": ("never",)})


def before_4_36(model, tokenizer, prompt, count, *, ends, early, stops=()):
    """The rule of transformers before 4.36, written out for one query: scores are divided by prompt and answer."""
    begun = tokenizer(prompt)["input_ids"]
    beams, found = [(0.0, [])], []
    for step in range(1, 13):
        logits = model(torch.tensor([begun + ids for _, ids in beams])).logits[:, -1].float()
        scores = logits.log_softmax(-1) + torch.tensor([[score] for score, _ in beams])
        best, places = scores.flatten().topk(max(2, 1 + len(ends)) * count)
        candidates = [
            (score, [*beams[place // logits.shape[1]][1], place % logits.shape[1]])
            for score, place in zip(best.tolist(), places.tolist(), strict=True)
        ]
        ended = [(score / (len(begun) + step - 1), ids) for score, ids in candidates[:count] if ids[-1] in ends]
        found = sorted([*found, *ended], reverse=True)[:count]
        beams = [beam for beam in candidates if beam[1][-1] not in ends][:count]
        if len(found) == count and (early or found[-1][0] >= candidates[0][0] / (len(begun) + step)):
            break
        if step == 12 or (stops and all(any(stop in tokenizer.decode(ids) for stop in stops) for _, ids in beams)):
            found = sorted([*found, *((score / (len(begun) + step), ids) for score, ids in beams)], reverse=True)
            break
    return [read(tokenizer, torch.tensor([ids]), ends)[0] for _, ids in found[:count]]


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(("family", "stops"), [("llama", ()), ("codegen", STOPS)])
def test_with_prompt_compares_answers_as_transformers_did_before(family, early, stops):
    tokenizer, model = small.tokenizer(), small.model(family, seed=3)
    model.generation_config.eos_token_id = ENDS
    settings = {"beams": 4, "returned": 4, "stops": stops or ("never",), "early_stopping": early, "batch_size": 3}
    settings |= {"stop": "all-beams"} if stops else {}
    ours = answers(model, tokenizer, PROMPTS, length_rule="with-prompt", **settings)
    with torch.no_grad():
        for index, prompt in enumerate(PROMPTS):
            assert ours[index] == before_4_36(model, tokenizer, prompt, 4, ends=ENDS, early=early, stops=stops)
    if not early:
        assert ours != answers(model, tokenizer, PROMPTS, **settings)


def test_candidates_that_ended_otherwise_are_not_waited_for():
    stopped = torch.tensor([[True, False, True, False], [True, False, False, True]])
    ended = torch.tensor([[False, True, False, False], [False, True, False, False]])
    assert search.all_stopped(stopped, ended, 2).tolist() == [[True], [False]]


def test_plain_attention_gives_the_same_answers():
    tokenizer, model = small.tokenizer(), small.model(seed=3)
    quick = answers(model, tokenizer, PROMPTS, beams=4, returned=4)
    model.set_attn_implementation("eager")
    assert quick == answers(model, tokenizer, PROMPTS, beams=4, returned=4)


def test_a_model_without_positions_keeps_transformers_search():
    torch.manual_seed(3)
    config = BloomConfig(vocab_size=420, hidden_size=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=1)
    tokenizer, model = small.tokenizer(), AutoModelForCausalLM.from_config(config).eval()
    ours = answers(model, tokenizer, PROMPTS, beams=4, returned=4, stops=("never",))
    assert ours == one_by_one(model, tokenizer, PROMPTS)
    with pytest.raises(ValueError, match="length_rule with-prompt is not for BloomForCausalLM"):
        answers(model, tokenizer, PROMPTS, beams=4, returned=4, length_rule="with-prompt")
