"""An adapter on disk: an ordinary folder of PEFT, whole or not there, whose card says how to load it and is right."""

import json
import re
import warnings
from pathlib import Path

import hub
import huggingface_hub
import pytest
import small
import small_methods
import torch
from safetensors.torch import load_file

from nblib import methods, models, spec

FACTS = {
    "settings": {"task": "conala-mini", "method": {"kind": "lora", "r": 16}, "seed": 42},
    "costs": {"train_seconds": 12.345678, "execute_seconds": None},
    "notes": {"validation_losses": [(3, 2.5), (6, 1.25)]},
}
SCORES = {
    ("conala-mini", "test"): {
        "em@1": {"mean": 0.41234567, "n": 97, "missing": 3},
        "codebleu": {"mean": None, "n": 0, "missing": 100},
    }
}


def saved(folder: Path, method: spec.Trained, family: str = "llama", base: str = "") -> tuple[Path, list[torch.Tensor]]:
    """A trained adapter, and what it answered."""
    base = base or small.folder(folder / "base", family)
    model, tokenizer = models.load(base)
    attached = methods.attach(model, method, tokenizer, seed=1, steps=small_methods.STEPS)
    small_methods.train(attached, small_methods.batch(model, tokenizer))
    facts = FACTS | {"settings": FACTS["settings"] | {"method": {"kind": method.kind}}}
    place = methods.save(attached, folder / "adapter", base=base, precision="fp32", facts=facts)
    return place, small_methods.answers(attached, small_methods.batch(model, tokenizer))


@pytest.fixture(scope="module")
def lora(tmp_path_factory) -> tuple[Path, list[torch.Tensor]]:
    return saved(tmp_path_factory.mktemp("lora"), spec.Lora())


def test_an_adapter_is_an_ordinary_folder_of_peft_with_what_is_noted_beside_it(lora):
    place, _ = lora
    files = {"README.md", "adapter_config.json", "adapter_model.safetensors", "nblib.json"}
    assert {file.name for file in place.iterdir()} == files
    config = json.loads((place / "adapter_config.json").read_text())
    assert (config["peft_type"], config["task_type"], config["r"]) == ("LORA", "CAUSAL_LM", 16)
    base = str(place.parent / "base")
    assert config["base_model_name_or_path"] == base
    assert all("lora_" in name for name in load_file(place / "adapter_model.safetensors"))
    noted = methods.read(place)
    assert (noted["base"], noted["precision"], noted["revision"]) == (base, "fp32", models.revision(base))
    assert noted["facts"]["costs"] == FACTS["costs"]


def test_a_short_key_is_the_hubs_name_in_an_adapter(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "revision", lambda model: "abc")
    attached = methods.attach(small.model(), spec.Lora(), small.tokenizer(), seed=1)
    place = methods.save(attached, tmp_path / "adapter", base="codellama-7b", precision="nf4", facts={})
    config = json.loads((place / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "codellama/CodeLlama-7b-hf"
    text = (place / "README.md").read_text()
    assert 'from_pretrained("codellama/CodeLlama-7b-hf", revision="abc"), adapter)' in text
    assert 'models.load("codellama-7b", "nf4")' in text


def test_what_cannot_be_saved_leaves_what_was_there(tmp_path, monkeypatch):
    place, _ = saved(tmp_path, spec.Ia3())
    before = {file.name: file.read_bytes() for file in place.iterdir()}
    attached, base = methods.attach(small.model(), spec.Ia3(), small.tokenizer(), seed=1), str(tmp_path / "base")
    with pytest.raises(TypeError, match="not JSON serializable"):
        methods.save(attached, place, base=base, precision="fp32", facts={"method": spec.Lora()})

    def full_disk(folder, **_):
        (Path(folder) / "adapter_config.json").write_text("{")
        raise OSError("No space left on device")

    monkeypatch.setattr(attached, "save_pretrained", full_disk, raising=False)
    with pytest.raises(OSError, match="No space left"):
        methods.save(attached, place, base=base, precision="fp32", facts={})
    full = methods.attach(small.model(), spec.FullTuning(), small.tokenizer(), seed=1)
    with pytest.raises(ValueError, match="save takes a model with an adapter; .*save_pretrained writes: got a Llama"):
        methods.save(full, place, base=base, precision="fp32", facts={})
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before
    assert {file.name for file in tmp_path.iterdir()} == {"base", "adapter"}


@pytest.mark.parametrize(
    ("family", "settings", "reason"),
    [
        ("qwen2", {}, "its model_type is qwen2 instead of llama"),
        ("llama", {"seed": 1}, "its embeddings have other values"),
        ("llama", {"vocabulary": 400}, "it has fewer embeddings"),
    ],
)
def test_another_base_is_refused_and_stays_as_it_was(lora, family, settings, reason):
    other = small.model(family, **settings)
    with pytest.raises(ValueError, match=f"made for .*base, and this model is another: {reason}"):
        methods.load(other, lora[0])
    assert not hasattr(other, "peft_config")


@pytest.mark.parametrize("precision", ["bf16", "nf4"])
def test_the_same_base_at_another_precision_is_known_again(lora, precision):
    place, expected = lora
    model, tokenizer = models.load(str(place.parent / "base"), precision)
    loaded = methods.load(model, place)
    assert {parameter.dtype for name, parameter in loaded.named_parameters() if "lora_" in name} == {torch.float32}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        logits = small_methods.answers(loaded, small_methods.batch(model, tokenizer))[0]
    assert (logits.float() - expected[0]).abs().mean() < 0.1 * expected[0].abs().mean()


def test_a_folder_without_a_finished_adapter_is_refused(tmp_path):
    for use in (lambda: methods.load(small.model(), tmp_path), lambda: methods.push(tmp_path, "me/mine")):
        with pytest.raises(ValueError, match="holds no adapter: it has no adapter_config.json; give a folder"):
            use()
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="has no nblib.json: it is incomplete, or not by methods.save"):
        methods.read(tmp_path)


def test_the_best_checkpoint_of_adalora_is_kept_although_it_is_older_than_the_last_pruning(tmp_path):
    base = small.folder(tmp_path / "base")
    model, tokenizer = models.load(base)
    rows = small_methods.batch(model, tokenizer)
    attached = methods.attach(model, spec.AdaLora(r=2, initial_r=8), tokenizer, seed=1, steps=small_methods.STEPS)
    small_methods.train(attached, rows)
    with torch.no_grad():
        for name, parameter in attached.named_parameters():
            if ".lora_E." in name:
                parameter.fill_(0.1)  # as before anything was pruned
    expected = small_methods.answers(attached, rows)
    methods.save(attached, tmp_path / "adapter", base=base, precision="fp32", facts={})
    methods.detach(attached)
    loaded = methods.load(model, tmp_path / "adapter")
    assert all(map(torch.equal, expected, small_methods.answers(loaded, rows)))
    assert small_methods.loss(loaded, rows) > 0


# --- the card -------------------------------------------------------------------------------------------------------


def test_a_card_says_what_was_done_and_what_came_of_it(lora):
    path = methods.card(lora[0], scores=SCORES)
    text, data = path.read_text(encoding="utf-8"), huggingface_hub.ModelCard.load(path).data
    assert (data.library_name, data.pipeline_tag, data.tags) == ("peft", "text-generation", ["lora", "code"])
    assert (data.base_model, data.license) == (None, None)  # no id of the Hub's
    (result,) = data.eval_results
    assert (result.dataset_name, result.dataset_split, result.metric_type) == ("conala-mini", "test", "em@1")
    assert result.metric_value == pytest.approx(0.41234567)
    for row in ("em@1 on conala-mini (test) | 0.4123 | 97", "codebleu on conala-mini (test) | not defined | 0"):
        assert f"| {row} |" in text
    for row in ("6 | 1.25", "method.kind | lora", "train_seconds | 12.35"):
        assert f"| {row} |" in text
    assert "execute_seconds" not in text
    assert "--enable-lora" in text


def snippets(place: Path) -> list[str]:
    """How to find the adapter, with each way to load it."""
    adapter, *ways = re.findall(r"```python\n(.*?)```", (place / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return [adapter + way for way in ways]


def run(code: str):
    names: dict = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        exec(code, names)
    return names["model"], names["tokenizer"]


@pytest.mark.parametrize(
    ("method", "family", "base", "ways"),
    [
        (spec.Lora(), "llama", "", 2),
        (spec.Lora(), "llama", "micro", 2),
        (spec.Adapter(), "llama", "", 2),
        (spec.Lora(), "t5", "", 1),  # PEFT 0.21 alone does not get on with it
    ],
)
def test_the_code_of_a_card_loads_the_adapter_from_anywhere(tmp_path, monkeypatch, method, family, base, ways):
    place, expected = saved(tmp_path, method, family, base)
    monkeypatch.chdir(tmp_path)
    assert len(snippets(place)) == ways
    for code in snippets(place):
        model, tokenizer = run(code)
        logits = small_methods.answers(model, small_methods.batch(model.get_base_model(), tokenizer))[0]
        torch.testing.assert_close(logits, expected[0])
    if isinstance(method, spec.Lora) and ways == 2:
        merged = small_methods.answers(model.merge_and_unload(), small_methods.batch(model.get_base_model(), tokenizer))
        torch.testing.assert_close(merged[0], expected[0], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_code_of_a_card_loads_an_adapter_over_a_model_of_the_hub(tmp_path):
    server = hub.Hub()
    server.add("models", "some/base", hub.folder_files(Path(small.folder(tmp_path / "base"))))
    before = f"""
from nblib import methods, models, spec
model, tokenizer = models.load("some/base")
attached = methods.attach(model, spec.Lora(), tokenizer, seed=1)
methods.save(attached, {str(tmp_path / "adapter")!r}, base="some/base", precision="fp32", facts={{}})

def ran(way):
    import re, warnings
    warnings.simplefilter("ignore")
    adapter, *ways = re.findall("```python\\n(.*?)```", open({str(tmp_path / "adapter" / "README.md")!r}).read(), re.S)
    names = {{}}
    exec(adapter + ways[way], names)
    return type(names["model"]).__name__
"""
    try:
        found = hub.ask(server.endpoint, tmp_path / "home", "ran(0)", "ran(1)", before=before)
    finally:
        server.close()
    assert found == ["PeftModelForCausalLM"] * 2
    assert huggingface_hub.ModelCard.load(tmp_path / "adapter" / "README.md").data.base_model == "some/base"


def test_an_adapter_is_pushed_with_a_card_that_loads_it_from_there(lora, monkeypatch):
    requests = []
    for name in ("create_repo", "upload_folder", "upload_file"):
        monkeypatch.setattr(huggingface_hub.HfApi, name, lambda self, *args, **more: requests.append((args, more)))
    assert methods.push(lora[0], "me/mine") == "https://huggingface.co/me/mine"
    created, weights, card = requests
    assert created == (("me/mine",), {"exist_ok": True})
    assert (weights[1]["folder_path"], weights[1]["ignore_patterns"]) == (lora[0], "README.md")
    text = card[1]["path_or_fileobj"].decode()
    assert 'adapter = snapshot_download("me/mine")' in text
    assert f'adapter = "{lora[0]}"' not in text


def test_a_push_without_the_hub_is_one_sentence(lora):
    with pytest.raises(ConnectionError, match="could not be uploaded to me/mine .*run `hf auth login`"):
        methods.push(lora[0], "me/mine")
