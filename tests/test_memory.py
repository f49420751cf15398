"""Measured memory: by phase, by kind against bytes counted by hand; out of memory as libraries say it."""

import sys
from types import SimpleNamespace

import pytest
import small
import small_methods
import torch
from torch import nn

from nblib import memory, methods, models, spec, tasks, train
from nblib.memory import energy, measuring
from nblib.study import fitting

MIB = 2**20
# The small llama: 14 linear layers in two blocks; its head and embeddings are 420 tokens of 32, its norms 5 of 32.
LINEAR, ROWS, OTHERS = 2 * (4 * 32 * 32 + 3 * 32 * 48), 2 * (5 * 32 + 2 * 48), 2 * 420 * 32 + 5 * 32
ROTARY = 2 * 4 * 4  # buffers: half a head's frequencies, and a copy
LORA = 2 * (16 * (4 * (32 + 32) + 3 * (32 + 48)))  # parameters of rank 16 at all linear layers
WIDE = {"float32": 4 * OTHERS + ROTARY}


def grown(make) -> tuple[memory.Peak, int]:
    """The memory of a phase, and how far its peak is over its beginning."""
    peak = memory.Peak()
    with memory.phase(peak):
        make()
    return peak, peak.peak_bytes - peak.before_bytes


class TestPhase:
    def test_sees_its_own_peak_and_not_that_of_one_before_or_inside(self):
        outer = memory.Peak()
        with memory.phase(outer):  # sizes are over 64 MiB, as much as malloc may keep of what was freed before
            _, first = grown(lambda: torch.ones(300 * MIB // 4, device=models.device()))
            _, second = grown(lambda: torch.ones(100 * MIB // 4, device=models.device()))
        assert first >= 290 * MIB
        assert 95 * MIB <= second < 150 * MIB
        assert outer.peak_bytes - outer.before_bytes >= 290 * MIB
        assert grown(lambda: None)[1] < 100 * MIB
        assert memory.device_bytes() > outer.peak_bytes

    def test_a_phase_around_sees_the_peak_of_the_one_inside(self, monkeypatch):
        readings = iter([(1, 1, 4), (2, 5, 8), (3, 9, 16), (4, 4, 16)])
        monkeypatch.setattr(measuring, "read", lambda: next(readings))
        outer, inner = memory.Peak(), memory.Peak()
        with memory.phase(outer), memory.phase(inner):
            pass
        assert inner == memory.Peak(before_bytes=2, peak_bytes=9, reserved_bytes=16)
        assert outer == memory.Peak(before_bytes=1, peak_bytes=9, reserved_bytes=16)

    def test_a_peak_that_the_device_does_not_count_is_none(self, monkeypatch):
        monkeypatch.setattr(measuring, "read", iter([(10, None, 20), (30, None, 40)]).__next__)
        peak = memory.Peak()
        with memory.phase(peak):
            pass
        assert peak == memory.Peak(before_bytes=10, peak_bytes=None, reserved_bytes=40)


def test_out_of_memory_is_known_in_the_words_of_every_device_and_other_errors_are_none():
    with pytest.raises(RuntimeError) as on_a_cpu:
        torch.empty(2**50)
    for error in (
        on_a_cpu.value,
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has 79.11 GiB"),
        RuntimeError("MPS backend out of memory (5.56 GB). Tried to allocate 768.00 MB on private pool."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ):
        assert memory.is_out_of_memory(error)
    for other in (RuntimeError("tried to allocate 3 bytes"), ValueError("the sandbox ran out of memory")):
        assert not memory.is_out_of_memory(other)


# --- by kind ----------------------------------------------------------------------------------------------------------


def tokens(batch: int = 2, length: int = 16) -> dict[str, torch.Tensor]:
    ids = torch.arange(batch * length).reshape(batch, length) % 400
    return {"input_ids": ids, "labels": ids}


def lora(model: nn.Module) -> nn.Module:
    return methods.attach(model, spec.Lora(r=16), small.tokenizer(), seed=1).train()


def step(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, int]:
    """The bytes by kind of one training step."""
    adamw = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad])
    with memory.first_step(model) as found:
        model(**batch).loss.backward()
        adamw.step()
    return found


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("fp32", {"float32": 4 * (LINEAR + OTHERS) + ROTARY}),
        ("bf16", {"bfloat16": 2 * (LINEAR + OTHERS), "float32": ROTARY}),
        ("int8", WIDE | {"int8": LINEAR, "constants": 4 * ROWS}),
        # a scale and a zero for each row
        pytest.param("ao-int8", WIDE | {"int8": LINEAR, "constants": 5 * ROWS}, marks=small.needs_torchao),
        # a scale for 64 weights, and for each layer the 16 values that four bits stand for
        ("nf4", WIDE | {"uint8": LINEAR // 2, "constants": 4 * LINEAR // 64 + 14 * 64}),
        # scales in 8 bits, and for each layer their mean, one scale of their own, and the 256 values of 8 bits
        ("nf4-dq", WIDE | {"uint8": LINEAR // 2, "constants": LINEAR // 64 + 14 * (64 + 4 + 4 + 1024)}),
    ],
)
def test_weights_are_counted_by_hand_at_every_precision_also_after_use(tmp_path, precision, expected):
    model, _ = models.load(small.folder(tmp_path), precision)
    if models.device() == "cuda" and expected.keys() & {"int8", "uint8"}:
        pytest.skip("layers that are not quantized are in half precision on a GPU")
    assert memory.weights(model) == expected
    model(**{name: tensor.to(model.device) for name, tensor in tokens().items()})
    assert memory.weights(model) == expected
    assert memory.weights(lora(model)) == expected


def test_a_step_holds_eight_bytes_of_adamw_a_trained_parameter_and_a_count_for_each_tensor():
    found = step(lora(small.model()), tokens())
    assert found["gradients"] == found["adapter"] == 4 * LORA
    assert found["optimizer"] == 8 * LORA + 4 * 28
    full = step(small.model().train(), tokens())
    assert full["adapter"] == 0
    assert full["gradients"] == full["weights"] - ROTARY == 4 * (LINEAR + OTHERS)


@pytest.mark.parametrize("kind", small_methods.ADDED)
def test_every_method_is_measured(kind):
    family = "gpt2" if kind == "ln-tuning" else "llama"
    method, tokenizer = small_methods.method(kind), small.tokenizer()
    model = small.model(family)
    rows = small_methods.batch(model, tokenizer)
    attached = methods.attach(model, method, tokenizer, seed=1, steps=10, batches=[rows, rows]).train()
    found = step(attached, tokens())
    assert found["adapter"] == 4 * methods.trainable_parameters(attached)
    assert found["gradients"] <= found["adapter"]
    assert min(found["weights"], found["activations"], found["logits"], found["optimizer"]) > 0


class TestFirstStep:
    def test_activations_are_counted_by_hand(self):
        class Two(nn.Sequential):  # a body and a head
            def get_output_embeddings(self):
                return self[1]

        model = Two(nn.Linear(8, 16), nn.Linear(16, 32))
        with memory.first_step(model) as found:
            output = model(torch.ones(4, 8))
        assert output.nbytes == found["logits"] == 4 * 4 * 32
        assert found["activations"] == 4 * 4 * 16

    def test_checkpointing_shrinks_activations_alone_but_not_what_8_bit_layers_keep_behind_autograds_back(
        self, tmp_path
    ):
        place, kept = small.folder(tmp_path), {}
        for name, precision in {"plain": "fp32", "fp32": "fp32", "int8": "int8"}.items():
            model = lora(models.load(place, precision)[0])
            if name != "plain":
                model.activation_checkpointing_enable({"use_reentrant": False})
            kept[name] = step(model, {key: tensor.to(model.device) for key, tensor in tokens().items()})
        assert kept["fp32"]["activations"] < kept["plain"]["activations"] / 3
        assert kept["fp32"] | {"activations": 0} == kept["plain"] | {"activations": 0}
        inputs = 32 + 32 + 32 + 48  # values a token and block: of q, k and v; of o; of gate and up; of down
        assert kept["int8"]["activations"] - kept["fp32"]["activations"] >= 2 * inputs * 4 * 2 * 16

    def test_agrees_with_what_autograd_saved(self):
        model, saved = lora(small.model()), {}
        own = {parameter.untyped_storage() for parameter in model.parameters()}

        def pack(tensor):
            if (storage := tensor.untyped_storage()) not in own:
                saved[storage] = storage.nbytes()
            return tensor.detach()

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = model(**tokens())
        handed_over = output.logits.nbytes + output.loss.nbytes
        found = step(model, tokens())
        assert found["activations"] + found["logits"] == sum(saved.values()) + handed_over

    def test_the_trainers_own_first_step_is_measured_and_changes_nothing(self):
        def fit(model):
            training = spec.Training(epochs=2, optimizer="adamw_torch", evaluations_an_epoch=1)
            task, settings = tasks.get("conala-mini"), {"learning_rate": 1e-2, "precision": "fp32", "seed": 1}
            return train.fit(model, small.tokenizer(), small.DATA, task, training, **settings).validation_losses

        plain, measured = lora(small.model()), lora(small.model())
        with memory.first_step(measured) as found:
            losses = fit(measured)
        assert losses == fit(plain)
        assert set(found) == {"weights", "adapter", "gradients", "optimizer", "activations", "logits"}
        assert found["optimizer"] == 8 * LORA + 4 * 28

    def test_evaluation_another_models_step_and_a_forward_pass_that_fails_are_not_counted(self):
        model, other = lora(small.model()), nn.Linear(2, 2)
        with memory.first_step(model) as found:
            model.eval()(**tokens())
            other(torch.ones(1, 2)).sum().backward()
            torch.optim.AdamW(other.parameters()).step()
            with pytest.raises(IndexError):
                model.train()(input_ids=torch.full((1, 4), 10**6))
            assert found == {}
            model(**tokens())
        assert found["activations"] > 0
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class TestEnergy:
    """Of counters that a test moves."""

    @pytest.fixture
    def package(self, tmp_path, monkeypatch):
        """Counts so many joules on the one package of a CPU."""
        monkeypatch.setattr(models.loading, "device", lambda: "cpu")
        monkeypatch.setattr(energy, "RAPL", tmp_path)
        for name in ("intel-rapl:0", "intel-rapl:0:0"):  # the second is a part of the first
            (tmp_path / name).mkdir()
            (tmp_path / name / "max_energy_range_uj").write_text("262143000000\n")

        def count(joules: float) -> None:
            for name in ("intel-rapl:0", "intel-rapl:0:0"):
                (tmp_path / name / "energy_uj").write_text(f"{joules * 1e6:.0f}\n")

        count(100)
        return count

    def test_is_the_difference_of_a_counter_that_may_begin_again_once(self, package):
        before = memory.counters()
        package(350)
        assert memory.joules(before, 10) == 250
        package(40)  # by way of 262,143
        assert memory.joules(before, 600) == pytest.approx(262_143 - 60)
        assert memory.joules(before, 700) is None  # at 400 W it may have done so twice

    def test_is_none_where_no_counter_may_be_read_or_another_one_is_there(self, package, tmp_path):
        before = memory.counters()
        (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
        assert memory.counters() == {}
        assert memory.joules(before, 1) is None
        assert memory.joules({}, 1) is None
        package(200)
        assert memory.joules({}, 1) is None

    def test_of_a_gpu_is_what_nvml_counts_and_none_without_its_package(self, monkeypatch):
        monkeypatch.setattr(models.loading, "device", lambda: "cuda")
        monkeypatch.setattr(energy.models, "device", lambda: "cuda")
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"uuid-{device}"))
        monkeypatch.setitem(sys.modules, "pynvml", None)
        assert memory.counters() == {}
        counted = {"GPU-uuid-1": 5_000}  # millijoules
        nvml = SimpleNamespace(nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=lambda uuid: uuid)
        nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: counted[handle]
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        before = memory.counters()
        counted["GPU-uuid-1"] = 12_000
        assert memory.joules(before, 1e6) == 7

    def test_a_phase_adds_what_an_earlier_process_used_and_knows_nothing_if_that_does_not(self, package):
        for earlier, expected in (({}, 50), ({"seconds": 1.0, "joules": 7.0}, 57), ({"seconds": 1.0}, None)):
            package(100)
            record = fitting.Record()
            with record.phase("train", earlier):
                package(150)
            assert record.costs["train_joules"] == expected
