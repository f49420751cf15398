"""CodeGen2's checkpoints against its attention as its makers describe it, written here from those facts."""

import json
from pathlib import Path

import pytest
import small
import torch
from transformers import CodeGenConfig, CodeGenForCausalLM

from nblib import models

AUTO_MAP = {
    "AutoConfig": "configuration_codegen.CodeGenConfig",
    "AutoModelForCausalLM": "modeling_codegen.CodeGenForCausalLM",
}
HEADS, WIDTH, ROTARY = 8, 64, 4


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """Random weights in CodeGen2's form."""
    torch.manual_seed(0)
    settings = {"n_embd": WIDTH, "n_head": HEADS, "n_layer": 2, "rotary_dim": ROTARY, "n_positions": 64, "n_ctx": 64}
    model = CodeGenForCausalLM(CodeGenConfig(**settings, vocab_size=420, bos_token_id=0, eos_token_id=1))
    for parameter in model.parameters():
        parameter.data.normal_(std=0.2)
    model.save_pretrained(tmp_path / "own")
    small.tokenizer().save_pretrained(tmp_path / "own")
    path = tmp_path / "own" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": AUTO_MAP}))
    return tmp_path / "own"


def reference(weights: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """The logits of one text: 8 groups of rows, each with query, value and key of an eighth of the heads."""
    norm = torch.nn.functional.layer_norm
    hidden = weights["transformer.wte.weight"][ids]
    for layer in range(2):
        at = f"transformer.h.{layer}."
        normed = norm(hidden, (WIDTH,), weights[at + "ln_1.weight"], weights[at + "ln_1.bias"])
        groups = (normed @ weights[at + "attn.qkv_proj.weight"].T).view(len(ids), 8, 3, WIDTH // 8)
        query, value, key = (groups[:, :, part].reshape(len(ids), HEADS, -1) for part in range(3))
        query, key = rotated(query), rotated(key)
        scores = torch.einsum("qhd,khd->hqk", query, key) / (WIDTH // HEADS) ** 0.5
        scores = scores.masked_fill(torch.ones(len(ids), len(ids)).triu(1).bool(), -torch.inf)
        mixed = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value).reshape(len(ids), WIDTH)
        widened = normed @ weights[at + "mlp.fc_in.weight"].T + weights[at + "mlp.fc_in.bias"]
        widened = torch.nn.functional.gelu(widened, approximate="tanh")
        narrowed = widened @ weights[at + "mlp.fc_out.weight"].T + weights[at + "mlp.fc_out.bias"]
        hidden = hidden + mixed @ weights[at + "attn.out_proj.weight"].T + narrowed
    hidden = norm(hidden, (WIDTH,), weights["transformer.ln_f.weight"], weights["transformer.ln_f.bias"])
    return hidden @ weights["lm_head.weight"].T + weights["lm_head.bias"]


def rotated(heads: torch.Tensor) -> torch.Tensor:
    """Positions turn pairs of neighbours among the first numbers of a head."""
    angles = torch.arange(len(heads))[:, None, None] / 10000 ** (torch.arange(0, ROTARY, 2) / ROTARY)
    even, odd = heads[..., 0:ROTARY:2], heads[..., 1:ROTARY:2]
    turned = [even * angles.cos() - odd * angles.sin(), odd * angles.cos() + even * angles.sin()]
    return torch.cat([torch.stack(turned, -1).flatten(-2), heads[..., ROTARY:]], -1)


IDS = torch.tensor([5, 300, 17, 42, 42, 9, 111, 250])


def stored(model: CodeGenForCausalLM) -> dict[str, torch.Tensor]:
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_it_computes_what_its_own_code_computes(checkpoint, form):
    native = CodeGenForCausalLM.from_pretrained(checkpoint).eval()  # reads the rows in other groups
    if form == "bin":
        (checkpoint / "model.safetensors").unlink()
        torch.save(stored(native), checkpoint / "pytorch_model.bin")
    model, _ = models.load(str(checkpoint))
    with torch.inference_mode():
        expected = reference(stored(native), IDS)
        torch.testing.assert_close(model(IDS[None]).logits[0], expected, rtol=1e-4, atol=1e-4)
        assert (native(IDS[None]).logits[0] - expected).abs().max() > 1


def test_saved_again_it_is_a_checkpoint_of_transformers_and_is_regrouped_once(checkpoint, tmp_path):
    model, tokenizer = models.load(str(checkpoint))
    model.save_pretrained(tmp_path / "again")
    tokenizer.save_pretrained(tmp_path / "again")
    again, _ = models.load(str(tmp_path / "again"))
    assert "auto_map" not in json.loads((tmp_path / "again" / "config.json").read_text())
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))


@pytest.mark.parametrize("precision", ["bf16", "nf4"])
def test_it_is_regrouped_before_it_is_rounded(checkpoint, tmp_path, precision):
    exact, tokenizer = models.load(str(checkpoint))
    exact.save_pretrained(tmp_path / "native")
    tokenizer.save_pretrained(tmp_path / "native")
    expected, found = (models.load(str(path), precision)[0] for path in (tmp_path / "native", checkpoint))
    with torch.inference_mode():
        assert found(IDS[None]).logits.equal(expected(IDS[None]).logits)


def test_the_number_of_groups_may_stand_in_the_configuration(checkpoint):
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mp_num": 4}))
    native = CodeGenForCausalLM.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        assert models.load(str(checkpoint))[0](IDS[None]).logits.equal(native(IDS[None]).logits)
