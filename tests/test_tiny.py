import json
import random
from dataclasses import replace

import pytest
import torch

from nblib import models
from nblib.tiny import pretrain, text, words
from nblib.tiny.operations import NEW

SHIPPED = models.EMBEDDED / "tiny"
RECIPE = pretrain.Recipe()


def documents(count, seed=5):
    rng = random.Random(seed)
    return [text.document(rng, number / count) for number in range(count)]


@pytest.fixture(scope="module")
def tokenizer():
    return pretrain.make_tokenizer(RECIPE)


def test_the_text_follows_its_seed():
    assert documents(50) == documents(50)
    assert documents(50) != documents(50, seed=6)


def test_the_text_never_assigns_to_the_names_of_the_sample_tasks_style():
    answers = [block.answer for blocks in documents(3000) for block in blocks]
    assert len(answers) > 5000
    for name in words.SAMPLE_STYLE_NAMES:
        assert not any(answer.startswith(f"{name} =") for answer in answers)


def test_the_text_has_none_of_the_new_operations_and_none_of_the_kept_phrasings():
    whole = "\n".join(block.prompt + block.answer for blocks in documents(3000) for block in blocks)
    apis = {
        each.code.split("(")[0] for each in NEW if "." in each.code.split("(")[0] and "{" not in each.code.split("(")[0]
    }
    assert len(apis) > 25
    for api in apis:
        assert f"{api}(" not in whole
    for kept in ("get a sorted version of", "what is the biggest value in", "see if value"):
        assert kept not in whole


def test_what_nothing_could_tell_is_not_learned():
    blocks = [block for blocks in documents(2000) for block in blocks]
    assert 0.1 < sum(not block.learned for block in blocks) / len(blocks) < 0.5
    assert all(blocks[0].learned for blocks in documents(2000) if len(blocks) == 1)


def test_loss_is_on_answers_and_single_answers_end_with_the_end_token(tokenizer):
    blocks = [text.Block("### Instruction:\nsort `xs`\n### Response:\n", "sorted(xs)", True)]
    ids, labels = pretrain.encode(blocks, tokenizer)
    assert tokenizer.decode([id for id in labels if id != pretrain.IGNORED]) == "sorted(xs)</s>"
    assert ids[0] == tokenizer.bos_token_id
    two = pretrain.encode(blocks * 2, tokenizer)[1]
    assert tokenizer.decode([id for id in two if id != pretrain.IGNORED]) == "sorted(xs)sorted(xs)\n\n"


def test_a_name_has_the_same_tokens_wherever_it_stands(tokenizer):
    def tokens(written):
        return tokenizer.convert_ids_to_tokens(tokenizer(written, add_special_tokens=False)["input_ids"])

    name = tokens("median_price")
    for around in ("`median_price`", "f(median_price)", "x = median_price"):
        found = tokens(around)
        assert any(found[start : start + len(name)] == name for start in range(len(found)))


def test_any_text_survives_the_tokenizer(tokenizer):
    for written in ("def f(x):\n\treturn  'é' ", "### Instruction:\nx", "a\r\nb", "日本語 🎉", "  \n\n  "):
        assert tokenizer.decode(tokenizer(written, add_special_tokens=False)["input_ids"]) == written


def test_a_few_steps_lower_the_loss_and_repeat_exactly(tmp_path, tokenizer):
    small = replace(RECIPE, batch_tokens=1024, hidden=64, layers=2, report_every=4)
    recipe = pretrain.shortened(small, 12)
    logs = []
    for folder in ("one", "two"):
        pretrain.fit(recipe, tmp_path / folder, "cpu")
        logs.append(json.loads((tmp_path / folder / "training.json").read_text())["log"])
    losses = [row["loss"] for row in logs[0]]
    assert losses == [row["loss"] for row in logs[1]]
    assert losses[-1] < losses[0]


def test_the_shipped_tokenizer_is_the_one_that_the_recipe_makes(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    made, shipped = (json.loads((folder / "tokenizer.json").read_text()) for folder in (tmp_path, SHIPPED))
    assert made == shipped


@pytest.mark.parametrize("name", pretrain.RECIPES)
def test_a_shipped_model_is_small_and_of_its_recipe(name):
    folder, recipe = models.EMBEDDED / name, pretrain.RECIPES[name]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10e6
    training = json.loads((folder / "training.json").read_text())
    assert training["recipe"] == json.loads(json.dumps(pretrain.asdict(recipe)))
    model, tokenizer = models.load(name, "bf16")
    assert model.config.model_type == "llama"
    assert model.dtype is torch.bfloat16
    assert len(tokenizer) == recipe.vocabulary


def test_the_smaller_model_is_a_tenth_of_the_larger_one_or_less():
    small, large = (models.load(name)[0].num_parameters() for name in ("micro", "tiny"))
    assert 2e6 < large < 5e6
    assert small < large / 10


@pytest.mark.parametrize("name", pretrain.RECIPES)
def test_a_card_states_what_was_measured_and_the_command(name):
    log = json.loads((models.EMBEDDED / name / "training.json").read_text())["log"][-1]
    card = (models.EMBEDDED / name / "README.md").read_text()
    for ability in ("known_operation", "style_from_shots", "copied_words", "copied_library"):
        assert f"{100 * log[ability]:.1f} %" in card
    assert f"# {name}: " in card
    assert ("--name micro" in card) == (name == "micro")


@pytest.mark.slow
@pytest.mark.parametrize("name", pretrain.RECIPES)
def test_shipped_weights_can_what_their_log_says(name):
    from nblib.tiny import probes

    log = json.loads((models.EMBEDDED / name / "training.json").read_text())["log"][-1]
    model, tokenizer = models.load(name)
    measured = probes.measure(model, tokenizer)
    for ability, share in measured.items():
        assert share == pytest.approx(log[ability], abs=0.03)  # bf16 rounding moves a few answers of 150
