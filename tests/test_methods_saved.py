"""Adapters on disk: ordinary PEFT folders, whole or not there, and only for the base that they were made for."""

import json
import warnings
from pathlib import Path

import huggingface_hub
import peft
import pytest
import small
import small_methods
import torch
from safetensors.torch import load_file

from nblib import methods, models, spec

FACTS = {
    "settings": {"task": "conala-mini", "method": {"kind": "lora", "r": 16, "learning_rate": 3e-4}, "seed": 42},
    "costs": {"train_seconds": 12.3456, "trainable_parameters": 15872, "execute_seconds": None},
    "notes": {"validation_losses": [[3, 2.5], [6, 1.25]]},
}
SCORES = {"em@1": {"mean": 0.41234, "n": 97, "missing": 3}, "codebleu": {"mean": None, "n": 0, "missing": 100}}


def saved(folder: Path, method: spec.Trained, family: str = "llama") -> tuple[Path, list]:
    """A folder with a trained adapter, and what it answered."""
    base = small.folder(folder / "base", family)
    model, tokenizer = models.load(base)
    attached = methods.attach(model, method, tokenizer, seed=1, steps=small_methods.STEPS)
    small_methods.train(attached, small_methods.batch(model, tokenizer))
    place = methods.save(attached, folder / "adapter", base=base, precision="fp32", facts=FACTS)
    return place, small_methods.answers(attached, small_methods.batch(model, tokenizer))


def test_an_adapter_is_an_ordinary_folder_of_peft(tmp_path):
    place, expected = saved(tmp_path, spec.Lora())
    assert {each.name for each in place.iterdir()} == {"adapter_config.json", "adapter_model.safetensors", "nblib.json"}
    config = json.loads((place / "adapter_config.json").read_text())
    assert (config["peft_type"], config["task_type"], config["r"]) == ("LORA", "CAUSAL_LM", 16)
    assert config["base_model_name_or_path"] == str(tmp_path / "base")
    assert all("lora_" in name for name in load_file(place / "adapter_model.safetensors"))
    model, tokenizer = models.load(str(tmp_path / "base"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        loaded = peft.PeftModel.from_pretrained(model, place)
    found = small_methods.answers(loaded, small_methods.batch(model, tokenizer))
    assert all(map(torch.equal, expected, found))


def test_what_is_noted_beside_it_can_be_read(tmp_path):
    place, _ = saved(tmp_path, spec.Ia3())
    noted = methods.read(place)
    assert noted["facts"] == FACTS
    assert noted["revision"] == models.revision(str(tmp_path / "base"))
    assert (noted["base"], noted["precision"]) == (str(tmp_path / "base"), "fp32")


def test_a_short_key_is_the_hubs_name_in_an_adapter(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "revision", lambda model: "abc")
    attached = methods.attach(small.model(), spec.Lora(), small.tokenizer(), seed=1)
    place = methods.save(attached, tmp_path / "adapter", base="codellama-7b", precision="nf4", facts={})
    config = json.loads((place / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "codellama/CodeLlama-7b-hf"


def test_an_adapter_replaces_the_one_that_was_there(tmp_path):
    place, _ = saved(tmp_path, spec.Lora())
    (place / "left.txt").write_text("of an earlier one")
    again, _ = saved(tmp_path, spec.Ia3())
    assert again == place
    assert not (place / "left.txt").exists()
    assert json.loads((place / "adapter_config.json").read_text())["peft_type"] == "IA3"


def test_a_save_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch):
    place, _ = saved(tmp_path, spec.Lora())
    before = {each.name: each.read_bytes() for each in place.iterdir()}
    attached = methods.attach(small.model(), spec.Ia3(), small.tokenizer(), seed=1)

    def full_disk(folder, **_):
        (Path(folder) / "adapter_config.json").write_text("{")
        raise OSError("No space left on device")

    monkeypatch.setattr(attached, "save_pretrained", full_disk, raising=False)
    with pytest.raises(OSError, match="No space left"):
        methods.save(attached, place, base=str(tmp_path / "base"), precision="fp32", facts={})
    assert {each.name: each.read_bytes() for each in place.iterdir()} == before
    assert {each.name for each in tmp_path.iterdir()} == {"base", "adapter"}


def test_facts_that_are_no_json_are_refused_before_anything_is_written(tmp_path):
    attached = methods.attach(small.model(), spec.Lora(), small.tokenizer(), seed=1)
    base = small.folder(tmp_path / "base")
    with pytest.raises(TypeError, match="not JSON serializable"):
        methods.save(attached, tmp_path / "adapter", base=base, precision="fp32", facts={"method": spec.Lora()})
    assert not (tmp_path / "adapter").exists()


def test_full_tuning_has_no_adapter_to_save(tmp_path):
    model = methods.attach(small.model(), spec.FullTuning(), small.tokenizer(), seed=1)
    with pytest.raises(ValueError, match="save takes a model with an adapter; .*save_pretrained writes: got a Llama"):
        methods.save(model, tmp_path / "adapter", base="tiny", precision="fp32", facts={})


@pytest.mark.parametrize(
    ("family", "settings", "reason"),
    [
        ("qwen2", {}, "its model_type is qwen2 instead of llama"),
        ("llama", {"seed": 1}, "its embeddings have other values"),
        ("llama", {"vocabulary": 400}, "it has fewer embeddings"),
    ],
)
def test_another_base_is_refused_and_stays_as_it_was(tmp_path, family, settings, reason):
    place, _ = saved(tmp_path, spec.Lora())
    other = small.model(family, **settings)
    with pytest.raises(ValueError, match=f"made for .*base, and this model is another: {reason}"):
        methods.load(other, place)
    assert not hasattr(other, "peft_config")


@pytest.mark.parametrize("precision", ["bf16", "nf4", "int8"])
def test_the_same_base_at_another_precision_is_known_again(tmp_path, precision):
    place, expected = saved(tmp_path, spec.Lora())
    model, tokenizer = models.load(str(tmp_path / "base"), precision)
    loaded = methods.load(model, place)
    assert {each.dtype for name, each in loaded.named_parameters() if "lora_" in name} == {torch.float32}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        logits = small_methods.answers(loaded, small_methods.batch(model, tokenizer))[0]
    assert (logits.float() - expected[0]).abs().mean() < 0.1 * expected[0].abs().mean()


def test_a_loaded_adapter_comes_off_again(tmp_path):
    place, expected = saved(tmp_path, spec.LnTuning())
    model, tokenizer = models.load(str(tmp_path / "base"))
    rows = small_methods.batch(model, tokenizer)
    bare = small_methods.answers(model, rows)
    for _ in range(2):
        loaded = methods.load(model, place)
        assert all(map(torch.equal, expected, small_methods.answers(loaded, rows)))
        assert methods.detach(loaded) is model
        assert all(map(torch.equal, bare, small_methods.answers(model, rows)))


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no adapter: it has no adapter_config.json; give a folder"):
        methods.load(small.model(), tmp_path)


def test_an_unfinished_or_foreign_adapter_is_refused(tmp_path):
    place, _ = saved(tmp_path, spec.Lora())
    (place / "nblib.json").unlink()
    with pytest.raises(ValueError, match="has no nblib.json: it is incomplete, or not by methods.save"):
        methods.load(small.model(), place)


def test_the_best_checkpoint_of_adalora_is_kept_although_it_is_older_than_the_last_pruning(tmp_path):
    base = small.folder(tmp_path / "base")
    model, tokenizer = models.load(base)
    rows = small_methods.batch(model, tokenizer)
    attached = methods.attach(model, spec.AdaLora(r=2, initial_r=8), tokenizer, seed=1, steps=small_methods.STEPS)
    small_methods.train(attached, rows)
    with torch.no_grad():
        for name, each in attached.named_parameters():
            if ".lora_E." in name:
                each.fill_(0.1)  # as before anything was pruned
    expected = small_methods.answers(attached, rows)
    pattern = attached.peft_config["default"].rank_pattern
    methods.save(attached, tmp_path / "adapter", base=base, precision="fp32", facts={})
    assert attached.peft_config["default"].rank_pattern == pattern
    methods.detach(attached)
    loaded = methods.load(model, tmp_path / "adapter")
    assert all(map(torch.equal, expected, small_methods.answers(loaded, rows)))
    assert small_methods.loss(loaded, rows) > 0


def test_a_card_says_what_was_done_what_came_of_it_and_how_to_load_it(tmp_path):
    place, _ = saved(tmp_path, spec.Lora())
    path = methods.card(place, facts=FACTS, scores=SCORES)
    text = path.read_text(encoding="utf-8")
    assert path == place / "README.md"
    data = huggingface_hub.ModelCard.load(path).data
    assert (data.base_model, data.library_name, data.pipeline_tag) == (
        str(tmp_path / "base"),
        "peft",
        "text-generation",
    )
    assert data.tags == ["lora", "code"]
    assert data.license is None
    assert "| em@1 | 0.4123 | 97 |" in text
    assert "| codebleu | not defined | 0 |" in text
    assert "| 6 | 1.25 |" in text
    assert "| method.r | 16 |" in text
    assert "| train_seconds | 12.35 |" in text
    assert "execute_seconds" not in text
    assert "trained on conala-mini with nblib" in text
    code = text.split("```python\n")[1].split("```")[0]
    assert code.splitlines()[-1] == 'model = PeftModel.from_pretrained(base, "adapter")'
    assert "nblib.adapters" not in code


@pytest.mark.parametrize(("method", "family"), [(spec.Lora(), "llama"), (spec.Adapter(), "llama"), (spec.Lora(), "t5")])
def test_the_lines_of_a_card_load_the_adapter(tmp_path, monkeypatch, method, family):
    place, expected = saved(tmp_path, method, family)
    settings = FACTS["settings"] | {"method": {"kind": method.kind}}
    text = methods.card(place, facts={"settings": settings}, scores={}).read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        exec(text.split("```python\n")[1].split("```")[0], names)
    model = names["model"]
    tokenizer = models.load_tokenizer(str(tmp_path / "base"))
    logits = small_methods.answers(model, small_methods.batch(model.get_base_model(), tokenizer))[0]
    assert logits.equal(expected[0])


def test_a_card_of_an_adapter_alone_has_no_empty_sections(tmp_path):
    place, _ = saved(tmp_path, spec.Lora())
    text = methods.card(place, facts={}, scores={}).read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## How to load it"]


def test_an_adapter_is_pushed_with_its_card(tmp_path, monkeypatch):
    place, _ = saved(tmp_path, spec.Lora())
    asked = []
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda self, name, **more: asked.append((name, more)))
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", lambda self, **more: asked.append(more))
    assert methods.push(place, "me/mine") == "https://huggingface.co/me/mine"
    assert asked == [("me/mine", {"exist_ok": True}), {"repo_id": "me/mine", "folder_path": place}]


def test_a_push_without_the_hub_is_one_sentence(tmp_path):
    place, _ = saved(tmp_path, spec.Lora())
    with pytest.raises(ConnectionError, match="could not be uploaded to me/mine .*run `hf auth login`"):
        methods.push(place, "me/mine")


def test_what_is_no_adapter_is_not_pushed(tmp_path):
    with pytest.raises(ValueError, match="holds no adapter"):
        methods.push(tmp_path, "me/mine")
