"""Plans: which ways of training fit on a card, in which order, and what to change where none does."""

import pytest
import small

from nblib import spec
from nblib.memory import CARDS, GIB, card, plan, predict

LORA = [spec.Lora(r=8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("llama")
    small.CONFIGS["llama"].save_pretrained(place)
    return str(place)


@pytest.fixture(scope="module")
def of_7b():
    return plan("codellama-7b", "RTX 4090", length=128, methods=[*LORA, spec.FullTuning()])


class TestOptions:
    def test_the_least_quantized_come_first(self, of_7b):
        order = [option.precision for option in of_7b]
        assert order == ["bf16", "int8", "nf4", "nf4-dq"]

    def test_they_fit_with_the_reserve(self, of_7b):
        for option in of_7b:
            assert option.peak_bytes <= card("RTX 4090").usable_bytes
            assert option.share == option.peak_bytes / (24 * GIB) < 0.92

    def test_full_tuning_of_7_billion_is_not_among_them(self, of_7b):
        assert {option.label for option in of_7b} == {"lora", "qlora-8bit", "qlora-4bit"}

    @pytest.mark.slow
    def test_where_there_is_room_nothing_is_slowed_down(self, folder):
        options = plan(folder, "H100", length=32)
        assert {(each.device_batch, each.gradient_checkpointing, each.optimizer) for each in options} == {
            (8, False, "adamw_torch")
        }


class TestSlowerWays:
    """Taken one after the other, as the card gets smaller."""

    def asked(self, gib):
        (option,) = plan("deepseek-coder-1.3b", gib, length=512, methods=LORA, precisions=["bf16"])
        return option

    @pytest.mark.slow
    def test_more_passes_come_before_checkpointing(self):
        large, small_, smallest = self.asked(24), self.asked(10), self.asked(4.5)
        assert (large.device_batch, large.gradient_checkpointing) == (8, False)
        assert small_.device_batch < 8
        assert not small_.gradient_checkpointing
        assert smallest.gradient_checkpointing

    @pytest.mark.slow
    def test_full_tuning_gets_an_8_bit_optimizer_where_states_are_too_large(self):
        asked = {"length": 64, "methods": [spec.FullTuning()], "precisions": ["bf16"]}
        (roomy,), (narrow,) = (plan("qwen2.5-coder-0.5b", gib, **asked) for gib in (24, 9))
        assert roomy.optimizer == "adamw_torch"
        assert narrow.optimizer == "adamw_8bit"


class TestLargeModels:
    """LoRA of rank 16 on all linear layers with 8 rows of 128 tokens and checkpointing, as predicted for a GPU."""

    METHOD = spec.Lora(r=16, targets="all-linear")
    TRAINING = spec.Training(gradient_checkpointing=True)

    def needed(self, model, precision):
        return predict(model, self.METHOD, precision, batch=8, length=128, training=self.TRAINING, device="cuda")

    def test_training_over_4_bits_needs_little_beside_weights_and_adapter(self):
        needed = self.needed("codellama-7b", "nf4-dq")
        assert needed.train_peak_bytes <= 1.25 * (needed.weights_bytes + needed.adapter_bytes)

    def test_34_billion_need_less_than_21_gib(self):
        assert self.needed("codellama-34b-python", "nf4-dq").peak_bytes < 21 * GIB

    @pytest.mark.slow
    def test_13_billion_fit_on_a_card_of_16_gib(self):
        options = plan("codellama-13b-python", "T4", length=128, methods=[self.METHOD], precisions=["nf4-dq"])
        assert [option.label for option in options] == ["qlora-4bit"]


class TestNothingFits:
    def test_a_smaller_precision_is_named(self):
        with pytest.raises(ValueError, match="does not fit on T4 with 16 GiB: precision int8 would"):
            plan("codellama-13b-python", "T4", length=64, methods=LORA, precisions=["fp16"])

    @pytest.mark.slow
    def test_then_shorter_texts(self):
        asked = {"methods": [spec.PrefixTuning()], "precisions": ["nf4-dq"], "batch_size": 1}
        with pytest.raises(ValueError, match="4096 tokens does not fit on a card of 6 GiB: texts of .* tokens would"):
            plan("codellama-7b", 6, length=4096, **asked)

    @pytest.mark.slow
    def test_then_a_larger_card(self):
        with pytest.raises(ValueError, match="does not fit on T4 with 16 GiB: RTX A5000 with 24 GiB would do"):
            plan("codellama-34b-python", "T4", length=64, methods=LORA)


class TestCards:
    def test_an_old_one_has_no_bf16(self, folder):
        assert "bf16" not in card("T4").precisions
        with pytest.raises(ValueError, match="precision bf16 needs a newer card than the T4: take fp16"):
            plan(folder, "T4", length=8, precisions=["bf16"])

    @pytest.mark.parametrize("name", CARDS)
    def test_a_reserve_stays_free_on_each(self, name):
        assert card(name).usable_bytes == int(CARDS[name] * GIB * 0.92) - GIB // 2


class TestRefusals:
    @pytest.mark.parametrize(
        ("device", "sentence"),
        [
            ("RTX 9999", "device must be one of T4, .*, or a number of GiB; got 'RTX 9999'"),
            (-8, "device must have more than .* GiB.*; got -8"),
            (0.5, "device must have more than .* GiB.*; got 0.5"),
            (True, "got True"),
        ],
    )
    def test_a_device_that_there_is_not(self, folder, device, sentence):
        with pytest.raises(ValueError, match=sentence):
            plan(folder, device, length=8)

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ({"batch_size": -8}, "batch_size must be a whole number, 1 or more; got -8"),
            ({"length": 0}, "length must be a whole number, 1 or more; got 0"),
            ({"beams": 0}, "beams must be a whole number, 1 or more; got 0"),
            ({"precisions": ["int4"]}, "precision must be one of fp32, .*; got 'int4'"),
            ({"methods": []}, "methods must name at least one that is trained; got none"),
            ({"methods": [spec.ZeroShot()]}, "zero-shot trains nothing"),
        ],
    )
    def test_bad_settings(self, folder, asked, sentence):
        with pytest.raises(ValueError, match=sentence):
            plan(folder, 16, **{"length": 8} | asked)
