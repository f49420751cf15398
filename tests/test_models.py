import json

import pytest
import small

from nblib import models


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


def test_keys_hub_ids_and_folders_are_places(tmp_path):
    assert models.locate("codellama-7b") == "codellama/CodeLlama-7b-hf"
    assert models.locate("someone/some-model") == "someone/some-model"
    assert models.locate(small.folder(tmp_path)) == str(tmp_path)


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match="model must be one of .*codellama-7b.* a Hub id .* local folder; got 'codelama'"
    ):
        models.locate("codelama")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no config.json"):
        models.locate(str(tmp_path))


def test_an_encoder_decoder_is_refused(tmp_path):
    small.folder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "t5", "is_encoder_decoder": True}))
    with pytest.raises(ValueError, match="is an encoder-decoder; nblib runs decoder-only models so far"):
        models.load(str(tmp_path))


def test_a_hub_model_that_is_out_of_reach_is_one_sentence():
    with pytest.raises(
        ConnectionError, match="neither in the local cache nor could it be fetched.*HF_HUB_OFFLINE is set"
    ):
        models.load("codellama-7b")
    with pytest.raises(ConnectionError):
        models.revision("codellama-7b")


def test_precision_is_chosen_for_the_machine(monkeypatch):
    monkeypatch.setattr(models, "device", lambda: "cpu")
    assert models.choose_precision("auto") == "fp32"
    with pytest.raises(ValueError, match="precision fp16 needs a GPU"):
        models.choose_precision("fp16")
    with pytest.raises(
        ValueError, match="precision must be one of auto, fp32, bf16, fp16, int8, nf4, nf4-dq, fp4; got 'int4'"
    ):
        models.choose_precision("int4")


def test_a_t4_has_no_bf16(monkeypatch):
    monkeypatch.setattr(models, "device", lambda: "cuda")
    monkeypatch.setattr(models.torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert models.choose_precision("auto") == "fp16"
