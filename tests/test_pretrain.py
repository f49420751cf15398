"""The embedded model: its pre-training text, tokenizer and training, and that the shipped ones are what is made."""

import hashlib
import json
import random
from dataclasses import asdict, replace

import pytest
import torch

from nblib import models
from nblib.tools import __main__ as command
from recipes import pretrain, questions, text

RECIPE = pretrain.Recipe()


def documents(count, seed=5):
    rng = random.Random(seed)
    return [text.document(rng, number / count) for number in range(count)]


@pytest.fixture(scope="module")
def blocks():
    return [block for document in documents(3000) for block in document]


@pytest.fixture(scope="module")
def tokenizer():
    return pretrain.make_tokenizer(RECIPE)


# The hashes are those of the text that the shipped models were trained on: a recipe may be tidied, not changed.
def test_the_text_is_the_one_that_the_shipped_models_learned_from():
    learned = [[(block.prompt, block.answer, block.learned) for block in document] for document in documents(500, 42)]
    assert hashlib.sha256(repr(learned).encode()).hexdigest()[:16] == "2e1646859ae69e42"


def test_the_probes_are_those_that_the_shipped_models_answered():
    drawn = {name: pretrain.draw(name) for name in pretrain.PROBES}
    assert hashlib.sha256(repr(drawn).encode()).hexdigest()[:16] == "9f717a606c2852f8"


def test_the_text_has_nothing_of_what_is_kept_for_the_sample_tasks(blocks):
    assert len(blocks) > 5000
    for name in questions.WORDS["answer_names"]:
        assert not any(block.answer.startswith(f"{name} =") for block in blocks)
    whole = "\n".join(block.prompt + block.answer for block in blocks)
    calls = {operation.code.partition("(")[0] for operation in questions.NEW}
    calls = {call for call in calls if "." in call and "{" not in call}
    assert len(calls) > 25
    assert [call for call in calls if f"{call}(" in whole] == []
    kept = ("get a sorted version of", "what is the biggest value in", "see if value")
    assert [phrase for phrase in kept if phrase in whole] == []


def test_loss_is_on_answers_and_single_answers_end_with_the_end_token(tokenizer):
    block = text.Block("### Instruction:\nsort `xs`\n### Response:\n", "sorted(xs)", True)

    def labelled(blocks):
        return tokenizer.decode([id for id in pretrain.encode(blocks, tokenizer)[1] if id != pretrain.IGNORE_INDEX])

    assert labelled([block]) == "sorted(xs)</s>"
    assert labelled([block, block]) == "sorted(xs)sorted(xs)\n\n"
    assert pretrain.encode([block], tokenizer)[0][0] == tokenizer.bos_token_id


def test_a_few_steps_lower_the_loss_and_repeat_exactly(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(pretrain, "make_tokenizer", lambda recipe: tokenizer)
    monkeypatch.setattr(pretrain, "QUESTIONS", 2)
    small = replace(RECIPE, batch_tokens=512, hidden=32, layers=1, report_every=4)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        pretrain.fit(pretrain.shortened(small, 8), folder, "cpu")
    first, last = json.loads((folders[0] / "training.json").read_text())["log"]
    assert last["loss"] < first["loss"]
    assert (folders[0] / "model.safetensors").read_bytes() == (folders[1] / "model.safetensors").read_bytes()


def test_the_command_hands_its_settings_to_the_training(monkeypatch, tmp_path, root):
    calls = []
    monkeypatch.setattr(pretrain, "fit", lambda *arguments, name: calls.append((*arguments, name)))
    command.main(["model", "--seed", "7", "--steps", "3", "--folder", str(tmp_path), "--device", "cuda"])
    command.main(["model", "--name", "micro"])
    assert calls == [
        (pretrain.shortened(pretrain.Recipe(seed=7), 3), tmp_path, "cuda", "tiny"),
        (pretrain.RECIPES["micro"], root / "data" / "models" / "micro", "cpu", "micro"),
    ]


def test_the_shipped_tokenizers_are_what_the_recipe_makes(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    for name in pretrain.RECIPES:
        shipped = (models.EMBEDDED / name / "tokenizer.json").read_text(encoding="utf-8")
        assert json.loads(shipped) == json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "millions"), [("tiny", 3), ("micro", 0.16)])
def test_a_shipped_model_is_small_and_of_its_recipe_and_has_the_card_of_its_log(name, millions):
    folder, recipe = models.EMBEDDED / name, pretrain.RECIPES[name]
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    model, tokenizer = models.load(name, "bf16")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10e6
    assert training["recipe"] == asdict(recipe)
    assert (model.config.model_type, model.dtype, len(tokenizer)) == ("llama", torch.bfloat16, recipe.vocabulary)
    assert 0.5e6 * millions < model.num_parameters() < 1e6 * millions
    card = pretrain.card(training | {"name": name}, model.num_parameters())
    assert (folder / "README.md").read_text(encoding="utf-8") == card


@pytest.mark.slow
@pytest.mark.parametrize("name", pretrain.RECIPES)
def test_shipped_weights_can_what_their_log_says(name):
    log = json.loads((models.EMBEDDED / name / "training.json").read_text(encoding="utf-8"))["log"][-1]
    for ability, share in pretrain.measure(*models.load(name)).items():
        assert share == pytest.approx(log[ability], abs=0.03)  # bf16 rounding moves a few answers of 150
