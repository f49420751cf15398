import json

import pytest
import small
import torch

from nblib import models, spec, study


def test_a_local_folder_loads_with_a_pad_of_its_own(tmp_path):
    small.model("gpt2").save_pretrained(tmp_path)
    small.tokenizer(pad=None).save_pretrained(tmp_path)
    model, tokenizer = models.load(str(tmp_path))
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert model.get_input_embeddings().num_embeddings > tokenizer.pad_token_id
    assert tokenizer.padding_side == "left"


def test_the_revision_of_a_folder_follows_its_weights(tmp_path):
    first = models.revision(small.folder(tmp_path / "a", seed=1))
    assert first == models.revision(small.folder(tmp_path / "b", seed=1))
    assert first != models.revision(small.folder(tmp_path / "c", seed=2))


@pytest.mark.parametrize(
    "name",
    (
        "chat_template.jinja vocab.json merges.txt added_tokens.json special_tokens_map.json tokenizer.json "
        "tokenizer_config.json config.json generation_config.json spiece.model"
    ).split(),
)
def test_the_revision_of_a_folder_follows_every_file_that_determines_an_answer(tmp_path, name):
    folder = small.folder(tmp_path / "a")
    before = models.revision(folder)
    (tmp_path / "a" / name).write_text("{} ")
    assert models.revision(folder) != before


def test_what_determines_no_answer_leaves_the_revision(tmp_path):
    folder = small.folder(tmp_path / "a")
    before = models.revision(folder)
    (tmp_path / "a" / "README.md").write_text("a card")
    assert models.revision(folder) == before


def test_keys_hub_ids_and_folders_are_places(tmp_path):
    assert models.locate("codellama-7b") == "codellama/CodeLlama-7b-hf"
    assert models.locate("someone/some-model") == "someone/some-model"
    assert models.locate(small.folder(tmp_path)) == str(tmp_path)


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError,
        match="model must be one of .*codellama-7b.* a Hub id .* local folder or a .gguf file; got 'codelama'",
    ):
        models.locate("codelama")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no config.json"):
        models.locate(str(tmp_path))


def test_an_encoder_decoder_loads_through_the_same_call(tmp_path):
    place = small.folder(tmp_path / "t5", "t5")
    model, tokenizer = models.load(place)
    assert models.is_encoder_decoder(place)
    assert not models.is_encoder_decoder(small.folder(tmp_path / "llama"))
    batch = tokenizer(["add 3"], return_tensors="pt")
    assert model(**batch, labels=batch["input_ids"]).loss.isfinite()
    assert model.generation_config.decoder_start_token_id == 2


def test_relative_positions_count_as_far_as_the_model_was_trained(tmp_path):
    place = small.folder(tmp_path, "t5")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"n_positions": 512}))
    assert models.context_length(place) == 512


def test_an_answer_takes_room_from_the_prompt_only_where_one_context_holds_both(tmp_path):
    assert models.max_prompt_tokens(small.folder(tmp_path / "gpt2", "gpt2"), new_tokens=56) == 256 - 56
    place = small.folder(tmp_path / "t5", "t5")
    assert models.max_prompt_tokens(place, new_tokens=56) == models.context_length(place)


@pytest.mark.parametrize("precision", ["bf16", *spec.QUANTIZED])
def test_an_encoder_decoder_loads_at_every_precision(tmp_path, precision):
    place = small.folder(tmp_path, "t5")
    exact, tokenizer = models.load(place)
    model = models.load(place, precision)[0]
    floating = torch.bfloat16 if precision == "bf16" else torch.float32
    assert model.lm_head.weight.dtype == model.encoder.block[0].layer[1].DenseReluDense.wo.weight.dtype == floating
    queries = (each.encoder.block[0].layer[0].SelfAttention.q.weight for each in (exact, model))
    assert next(queries).nbytes / next(queries).nbytes > (1.9 if precision == "bf16" else 3.5)
    batch = tokenizer(["add 3 to list `xs3`"], return_tensors="pt")
    with torch.inference_mode():
        here, there = (each(**batch, labels=batch["input_ids"]).logits.float() for each in (model, exact))
    assert torch.nn.functional.cosine_similarity(here.flatten(), there.flatten(), dim=0) > 0.9


def test_of_how_its_makers_decode_a_model_keeps_the_special_tokens_alone(tmp_path):
    place = small.folder(tmp_path)
    tokenizer = small.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.save_pretrained(tmp_path)
    turn = tokenizer.convert_tokens_to_ids("<turn>")
    word = tokenizer("add", add_special_tokens=False)["input_ids"][0]
    makers = {"eos_token_id": [1, turn, word], "repetition_penalty": 1.3, "top_k": 20, "do_sample": True}
    (tmp_path / "generation_config.json").write_text(json.dumps(makers))
    settings = models.load(place)[0].generation_config
    assert settings.eos_token_id == [1, turn]
    assert settings.repetition_penalty is None
    assert not settings.do_sample


def test_a_hub_model_that_is_out_of_reach_is_one_sentence():
    with pytest.raises(
        ConnectionError, match="neither in the local cache nor could it be fetched.*HF_HUB_OFFLINE is set"
    ):
        models.load("codellama-7b")
    with pytest.raises(ConnectionError):
        models.revision("codellama-7b")


def test_precision_is_chosen_for_the_machine(monkeypatch):
    monkeypatch.setattr(models.loading, "device", lambda: "cpu")
    assert models.choose_precision("auto") == "fp32"
    with pytest.raises(ValueError, match="precision fp16 needs a GPU"):
        models.choose_precision("fp16")
    with pytest.raises(
        ValueError, match="precision must be one of auto, fp32, bf16, fp16, int8, nf4, nf4-dq, fp4; got 'int4'"
    ):
        models.choose_precision("int4")


def test_a_t4_has_no_bf16(monkeypatch):
    monkeypatch.setattr(models.loading, "device", lambda: "cuda")
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
def test_a_row_for_a_new_pad_token_is_the_same_in_every_process(tmp_path, family):
    place = unpadded(tmp_path, family)
    loaded = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        loaded.append(models.load(place)[0])
    rows = [each.get_input_embeddings().weight for each in loaded]
    assert rows[0].equal(rows[1])
    assert len(rows[0]) == len(small.tokenizer(pad=None)) + 1
    torch.testing.assert_close(rows[0][-1], rows[0][:-1].mean(0))
    head = loaded[0].get_output_embeddings()
    torch.testing.assert_close(head.weight[-1], head.weight[:-1].mean(0))
    assert head.bias is None or head.bias[-1] == head.bias[:-1].mean()


def unpadded(place, family: str = "llama") -> str:
    """A folder whose tokenizer has no pad token and whose embeddings have no row for one, as Llama 3.1."""
    tokenizer = small.tokenizer(pad=None)
    small.model(family, vocabulary=len(tokenizer)).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


# --- stored in other bits, or computed by other code ----------------------------------------------------------------


def settle(place, **facts) -> str:
    """Adds these to the folder's config.json."""
    path = place / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    return str(place)


@pytest.mark.parametrize(
    ("stored", "held"),
    [
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "nf4"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}, "nf4-dq"),
        ({"load_in_4bit": True}, "fp4"),
        ({"load_in_4bit": True, "bnb_4bit_use_double_quant": True}, "fp4-dq"),
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
    ],
)
def test_a_checkpoint_that_is_stored_quantized_is_refused_at_any_other_precision(tmp_path, stored, held):
    place = small.folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()  # what reads weights fails
    settle(tmp_path, quantization_config=stored)
    for precision in spec.PRECISIONS:
        if precision == held:
            models.check(place, precision)
        else:
            with pytest.raises(ValueError, match=f"is stored quantized, as {held}, .*; got precision '{precision}'"):
                models.check(place, precision)


@pytest.mark.parametrize("precision", ["int8", "nf4", "nf4-dq"])
def test_a_stored_quantized_checkpoint_loads_as_what_it_is(tmp_path, precision):
    made, tokenizer = models.load(small.folder(tmp_path / "whole"), precision)
    made.save_pretrained(tmp_path / "stored")
    tokenizer.save_pretrained(tmp_path / "stored")
    batch = tokenizer(["add 3"], return_tensors="pt")
    with torch.inference_mode():
        expected = made(**batch).logits
        assert models.load(str(tmp_path / "stored"), precision)[0](**batch).logits.equal(expected)
    with pytest.raises(ValueError, match="and loads as nothing else; got precision 'fp32'"):
        models.load(str(tmp_path / "stored"))


def test_a_model_with_code_of_its_own_is_refused_unless_transformers_computes_the_same(tmp_path):
    place = small.folder(tmp_path / "gpt2", "gpt2")
    settle(tmp_path / "gpt2", auto_map={"AutoModelForCausalLM": "modeling_gpt2_mq.GPT2LMHeadCustomModel"})
    for refused in (models.check, models.load, models.load_shape):
        with pytest.raises(ValueError, match="computes with code of its own, modeling_gpt2_mq.GPT2LMHead.* which is"):
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
    with pytest.raises(ValueError, match="is in another repository, someone/else, at no commit"):
        models.load(place, trust_remote_code=True)
