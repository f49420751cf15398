"""A base model and its tokenizer from wherever they are, at a precision; what identifies them; what is refused."""

import json
from importlib import metadata

import pytest
import small
import small_methods
import torch

from nblib import memory, models, spec, study


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> str:
    return small.folder(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def t5(tmp_path_factory) -> str:
    return small.folder(tmp_path_factory.mktemp("t5"), "t5")


def test_keys_hub_ids_and_folders_are_places_and_anything_else_is_refused(llama, tmp_path):
    assert models.locate("codellama-7b") == "codellama/CodeLlama-7b-hf"
    assert models.locate("someone/some-model@main") == "someone/some-model@main"
    assert models.locate(llama) == llama
    known = "model must be one of .*codellama-7b.* a Hub id .* local folder or a .gguf file; got"
    for unknown in ("codelama", "absent.gguf", "someone/some-model@"):
        with pytest.raises(ValueError, match=f"{known} '{unknown}'"):
            models.locate(unknown)
    with pytest.raises(ValueError, match="has no config.json"):
        models.locate(str(tmp_path))


def test_the_revision_of_a_folder_follows_every_file_that_determines_an_answer(llama, tmp_path):
    folder = small.folder(tmp_path / "a")
    before = models.revision(folder)
    assert before == models.revision(llama) != models.revision(small.folder(tmp_path / "b", seed=2))
    (tmp_path / "a" / "README.md").write_text("a card")
    assert models.revision(folder) == before
    names = "chat_template.jinja vocab.json merges.txt added_tokens.json special_tokens_map.json tokenizer.json "
    names += "tokenizer_config.json config.json generation_config.json spiece.model"
    seen = {before}
    for name in names.split():
        (tmp_path / "a" / name).write_text("{} ")
        seen.add(models.revision(folder))
    assert len(seen) == 1 + len(names.split())


def test_a_hub_model_that_is_out_of_reach_is_one_sentence():
    with pytest.raises(ConnectionError, match="neither in the local cache nor could it be fetched.*HF_HUB_OFFLINE is"):
        models.load("codellama-7b")
    with pytest.raises(ConnectionError):
        models.revision("codellama-7b")


def test_an_encoder_decoder_loads_through_the_same_call_as_a_decoder(t5):
    model, tokenizer = models.load(t5)
    batch = tokenizer(["add 3"], return_tensors="pt")
    assert model(**batch, labels=batch["input_ids"]).loss.isfinite()
    assert model.generation_config.decoder_start_token_id == 2


def test_an_answer_takes_room_from_the_prompt_only_where_one_context_holds_both(tmp_path):
    assert models.max_prompt_tokens(small.CONFIGS["gpt2"], new_tokens=56) == 256 - 56
    assert models.max_prompt_tokens(small.CONFIGS["t5"], new_tokens=56) == 2048
    place = small.folder(tmp_path / "t5", "t5")
    settle(tmp_path / "t5", n_positions=512)  # positions are relative: it counts how far the model was trained
    assert models.context_length(models.config(place)) == 512


@pytest.mark.parametrize("precision", ["bf16", "nf4-dq"])
def test_an_encoder_decoder_loads_at_every_precision(t5, precision):
    (exact, tokenizer), (model, _) = models.load(t5), models.load(t5, precision)
    floating = torch.bfloat16 if precision == "bf16" else torch.float32
    assert model.lm_head.weight.dtype == model.encoder.block[0].layer[1].DenseReluDense.wo.weight.dtype == floating
    queries = (loaded.encoder.block[0].layer[0].SelfAttention.q.weight for loaded in (exact, model))
    assert next(queries).nbytes / next(queries).nbytes > (1.9 if precision == "bf16" else 3.5)
    batch = tokenizer(["add 3 to list `xs3`"], return_tensors="pt")
    with torch.inference_mode():
        found, expected = (loaded(**batch, labels=batch["input_ids"]).logits.float() for loaded in (model, exact))
    assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.9


def test_quantized_linear_layers_shrink_the_head_does_not_and_nothing_is_logged(llama, caplog):
    plain, tokenizer = models.load(llama)
    for precision, smaller in (("int8", 3.5), ("nf4", 6.5), ("nf4-dq", 6.5), ("fp4", 6.5)):
        quantized, _ = models.load(llama, precision)
        assert quantized.lm_head.weight.dtype == torch.float32
        before, after = (loaded.model.layers[0].mlp.up_proj.weight for loaded in (plain, quantized))
        assert before.nbytes / after.nbytes > smaller
        assert quantized.num_parameters() == plain.num_parameters()
        with torch.inference_mode():
            quantized(**tokenizer(["add 3"], return_tensors="pt"))
    assert caplog.text == ""


@small.needs_torchao
@pytest.mark.parametrize(("family", "precision"), [("qwen2", "ao-int8"), ("codegen", "ao-int4"), ("t5", "ao-int8")])
def test_torchao_quantizes_linear_layers_but_the_head_the_same_every_time(tmp_path, family, precision):
    place = small.folder(tmp_path, family)
    plain, tokenizer = models.load(place)
    rows = small_methods.batch(plain, tokenizer)
    with torch.inference_mode():
        exact, sizes = plain(**rows).logits, {name: weight.nbytes for name, weight in plain.named_parameters()}
        (model, again), _ = zip(*(models.load(place, precision) for _ in range(2)), strict=True)
        found = model(**rows).logits
        assert found.equal(again(**rows).logits)
        assert not found.equal(exact)
        assert torch.nn.functional.cosine_similarity(found.flatten(), exact.flatten(), dim=0) > 0.95
    whole = {name for name, weight in model.named_parameters() if len(models.parts(weight)) == 1}
    linear = {f"{path}.weight" for path, layer in plain.named_modules() if isinstance(layer, torch.nn.Linear)}
    assert linear & whole <= {"lm_head.weight"}
    for name, weight in model.named_parameters():
        held = sum(part.nbytes for part in models.parts(weight))
        assert held == sizes[name] if name in whole else held < sizes[name] / 2


@small.needs_torchao
@pytest.mark.parametrize(
    ("family", "precision", "sentence"),
    [
        ("gpt2", "ao-int8", "torchao quantizes no Conv1D, of which '.*' is made: take int8 or nf4"),
        ("llama", "ao-int4", "32 weights together, and .*down_proj of '.*' has 48 inputs: take ao-int8 or nf4"),
    ],
)
def test_what_torchao_would_leave_or_fail_at_is_refused_before_loading(tmp_path, family, precision, sentence):
    place = small.folder(tmp_path, family)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=sentence):
        models.check(place, precision)
    with pytest.raises(ValueError, match=sentence):
        memory.predict(place, spec.Lora(), precision, batch=1, length=8)


@pytest.mark.parametrize(("found", "words"), [(None, "none"), ("0.16.0", "0.16.0")])
def test_a_plan_says_how_to_install_torchao_where_a_precision_needs_it(llama, tmp_path, monkeypatch, found, words):
    def version(package: str) -> str:
        if found is None:
            raise metadata.PackageNotFoundError
        return found

    monkeypatch.setattr(metadata, "version", version)
    run = spec.Run(llama, "conala", spec.ZeroShot(), precision="ao-int8", data_dir=small.rows(tmp_path / "data"))
    sentence = f"ao-int8 needs torchao 0.18 or later, and {words} is installed: run `pip install 'torchao>=0.18'`"
    with pytest.raises(ImportError, match=sentence):
        study.plan([run])


def test_of_how_its_makers_decode_a_model_keeps_the_special_tokens_alone(tmp_path):
    place, tokenizer = small.folder(tmp_path), small.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.save_pretrained(tmp_path)
    turn = tokenizer.convert_tokens_to_ids("<turn>")
    word = tokenizer("add", add_special_tokens=False)["input_ids"][0]
    makers = {"eos_token_id": [1, turn, word], "repetition_penalty": 1.3, "top_k": 20, "do_sample": True}
    (tmp_path / "generation_config.json").write_text(json.dumps(makers))
    settings = models.load(place)[0].generation_config
    assert settings.eos_token_id == [1, turn]
    assert (settings.repetition_penalty, bool(settings.do_sample)) == (None, False)


def test_precision_is_chosen_for_the_machine(monkeypatch):
    monkeypatch.setattr(models.loading, "device", lambda: "cpu")
    assert models.choose_precision("auto") == "fp32"
    with pytest.raises(ValueError, match="precision fp16 needs a GPU"):
        models.choose_precision("fp16")
    with pytest.raises(ValueError, match="one of auto, fp32, bf16, fp16, int8, ao-int8, .*; got 'int4'"):
        models.choose_precision("int4")
    monkeypatch.setattr(models.loading, "device", lambda: "cuda")  # a T4 has no bf16
    monkeypatch.setattr(models.loading.torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert models.choose_precision("auto") == "fp16"


def test_a_tokenizer_without_an_end_of_sequence_token_is_refused_in_the_plan(tmp_path):
    folder, data_dir = small.folder(tmp_path / "model"), small.rows(tmp_path / "data")
    tokenizer = small.tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    run = spec.Run(folder, "conala", spec.ZeroShot(), data_dir=data_dir)
    with pytest.raises(ValueError, match="model has no end-of-sequence token, so no answer would end: set eos_token"):
        study.plan([run])


@pytest.mark.parametrize("family", ["llama", "gpt2", "codegen", "t5"])
def test_a_pad_token_of_its_own_has_the_same_row_in_every_process(tmp_path, family):
    tokenizer = small.tokenizer(pad=None)
    small.model(family, vocabulary=len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model, padded = models.load(str(tmp_path))
        assert (padded.pad_token_id, padded.padding_side) == (len(tokenizer), "left")
        loaded.append(model)
    rows = [model.get_input_embeddings().weight for model in loaded]
    assert rows[0].equal(rows[1])
    torch.testing.assert_close(rows[0][-1], rows[0][:-1].mean(0))
    head = loaded[0].get_output_embeddings()
    torch.testing.assert_close(head.weight[-1], head.weight[:-1].mean(0))
    assert head.bias is None or head.bias[-1] == head.bias[:-1].mean()


# --- stored in other bits, or computed by other code ----------------------------------------------------------------


def settle(place, **facts) -> str:
    """Adds these to the folder's config.json."""
    path = place / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    return str(place)


@pytest.mark.parametrize(
    ("stored", "precision"),
    [
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}, "nf4-dq"),
        ({"load_in_4bit": True, "bnb_4bit_use_double_quant": True}, "fp4-dq"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
    ],
)
def test_a_checkpoint_that_is_stored_quantized_is_refused_at_any_other_precision(tmp_path, stored, precision):
    place = small.folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()  # what reads weights fails
    settle(tmp_path, quantization_config=stored)
    for other in spec.PRECISIONS:
        if other == precision:
            models.check(place, other)
        else:
            with pytest.raises(ValueError, match=f"is stored quantized, as {precision}, .*; got precision '{other}'"):
                models.check(place, other)


@pytest.mark.parametrize("precision", ["int8", "nf4-dq"])
def test_a_stored_quantized_checkpoint_loads_as_what_it_is(llama, tmp_path, precision):
    made, tokenizer = models.load(llama, precision)
    made.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    batch = tokenizer(["add 3"], return_tensors="pt")
    with torch.inference_mode():
        expected = made(**batch).logits
        assert models.load(str(tmp_path), precision)[0](**batch).logits.equal(expected)


def test_a_model_with_code_of_its_own_is_refused_unless_transformers_computes_the_same(tmp_path):
    place = small.folder(tmp_path / "gpt2", "gpt2")
    settle(tmp_path / "gpt2", auto_map={"AutoModelForCausalLM": "modeling_gpt2_mq.GPT2LMHeadCustomModel"})
    for refused in (models.check, models.load, models.load_shape):
        with pytest.raises(ValueError, match="comes with code of its own, modeling_gpt2_mq.GPT2LMHead.* which we"):
            refused(place, "fp32")
    settle(tmp_path / "gpt2", auto_map={"AutoModelForSequenceClassification": "modeling.Other", "AutoConfig": "c.C"})
    models.check(place, "fp32")
    native = small.folder(tmp_path / "phi3", "phi3")
    settle(tmp_path / "phi3", auto_map={"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"})
    assert type(models.load(native)[0]).__module__.startswith("transformers.models.phi3")


OWN_CODE = """
from transformers import LlamaForCausalLM


class Doubled(LlamaForCausalLM):
    def forward(self, *given, **named):
        made = super().forward(*given, **named)
        made.logits = 2 * made.logits
        return made
"""


def test_code_of_its_own_is_run_where_that_is_allowed(tmp_path):
    place = small.folder(tmp_path)
    (tmp_path / "modeling_doubled.py").write_text(OWN_CODE)
    plain, tokenizer = models.load(place)
    settle(tmp_path, auto_map={"AutoModelForCausalLM": "modeling_doubled.Doubled"})
    with pytest.raises(ValueError, match="allow it with trust_remote_code=True"):
        models.load(place)
    batch = tokenizer(["add 3"], return_tensors="pt")
    with torch.inference_mode():
        doubled = models.load(place, trust_remote_code=True)[0](**batch).logits
        torch.testing.assert_close(doubled, 2 * plain(**batch).logits)
    first = models.revision(place, trust_remote_code=True)
    (tmp_path / "modeling_doubled.py").write_text(OWN_CODE.replace("2 *", "3 *"))
    assert models.revision(place, trust_remote_code=True) != first
    settle(tmp_path, auto_map={"AutoModelForCausalLM": "someone/else--modeling.Doubled"})
    with pytest.raises(ValueError, match="is in another repository, someone/else, without a commit"):
        models.load(place, trust_remote_code=True)
