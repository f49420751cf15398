"""Which PEFT method, which size of model, which task: tables and paragraphs say what the rows say."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest
from test_tables import EXAMPLES, right, tags

from nblib import results, spec, tables
from nblib.results import Prediction, Row
from nblib.spec import Custom, Dora, FullTuning, Ia3, InContext, LnTuning, Lora, Run, Training, ZeroShot

SEEDS = (42, 777, 5432)
PARAMETERS = {"lora": 98_304, "dora": 101_000, "ia3": 3_200, "ln-tuning": 1_500}
TINY, LARGE = 2_500_000, 10_000_000


def fake(folder: Path, asked: Run, scores: list, *, status: str = results.OK, costs=None, notes=None) -> Row:
    """Writes a row whose answers are right (1), wrong (0) or without a score (None), as `scores` says one by one."""
    known = [each for each in scores if each is not None]
    well = status == results.OK
    total = LARGE if asked.model == "large" else TINY
    trained = total if asked.method.kind == "full" else PARAMETERS.get(asked.method.kind, 5_000)
    fitted = {"train_seconds": 40.0, "train_peak_bytes": 2.0**30, "train_steps": 40} if asked.method.trained else {}
    row = Row(
        id=spec.run_id(asked, data="d", weights="w"),
        settings=spec.settings(asked),
        status=status,
        scores={"em@1": {"mean": sum(known) / len(known), "n": len(known), "missing": len(scores) - len(known)}}
        if well
        else {},
        costs={"total_parameters": total, "trainable_parameters": trained if asked.method.trained else 0}
        | {"prompt_tokens": 23.0, "generate_seconds": 8.0, "generate_peak_bytes": 2.0**29}
        | fitted
        | (costs or {}),
        notes=notes or {},
        provenance={},
        error=None if well else "it did not work",
    )
    predictions = [
        Prediction(example.id, (example.code,), (example.code,), 23, 12, scores={"em@1": score})
        for example, score in zip(EXAMPLES, scores, strict=False)
    ]
    results.write(folder, row, predictions if well else ())
    return row


def run(method: spec.Method, seed: int = 42, model: str = "tiny", task: str = "a", **settings) -> Run:
    return Run(model, task, method, training=Training() if method.trained else None, seed=seed, **settings)


def study(folder: Path, shares: dict[spec.Method, float], seeds: Iterable[int] = SEEDS, **settings) -> list[Row]:
    """Some seeds of each method, around the given share of right answers."""
    rows = []
    for method, share in shares.items():
        varied = list(seeds)[:1] if isinstance(method, ZeroShot) else list(seeds)
        for place, seed in enumerate(varied):
            shift = (place - (len(varied) - 1) / 2) / 60
            rows.append(fake(folder, run(method, seed, **settings), right(share + shift, seed)))
    return rows


class TestOneEach:
    def test_the_split_is_one(self, tmp_path):
        rows = [
            fake(tmp_path, run(Lora()), right(0.5)),
            fake(tmp_path, run(Ia3(), split="validation"), right(0.5)),
        ]
        with pytest.raises(ValueError, match="a comparison has one split; got "):
            tables.comparison(rows, tmp_path)

    def test_what_was_trained_on_is_one(self, tmp_path):
        rows = [fake(tmp_path, run(Lora()), right(0.5)), fake(tmp_path, run(Ia3(), train_task="b"), right(0.5))]
        with pytest.raises(ValueError, match="a comparison has one train_task; got "):
            tables.comparison(rows, tmp_path)

    def test_zero_shot_stands_beside_any_training(self, tmp_path):
        rows = [fake(tmp_path, run(ZeroShot()), right(0.1)), fake(tmp_path, run(Lora(), train_task="b"), right(0.5))]
        assert list(tables.comparison(rows, tmp_path).index) == ["zero-shot", "lora"]

    def test_rows_from_before_mean_the_test_split_and_the_task_itself(self, tmp_path):
        rows = study(tmp_path, {Lora(): 0.5, Ia3(): 0.3})
        for name in ("split", "train_task"):
            del rows[0].settings[name]
        assert list(tables.comparison(rows, tmp_path)["seeds"]) == [3, 3]
        named = fake(tmp_path, run(Ia3(), seed=1, train_task="a"), right(0.3))
        assert list(tables.comparison([*rows, named], tmp_path)["seeds"]) == [3, 4]


class TestAdapterBytes:
    def test_stand_after_the_parameters_for_people(self, tmp_path):
        rows = study(tmp_path, {ZeroShot(): 0.1, FullTuning(): 0.5})
        rows += [
            fake(tmp_path, run(method), right(0.5), costs={"adapter_bytes": size})
            for method, size in ((Lora(), 393_216), (Ia3(), 812), (Dora(), 13_212_057))
        ]
        frame = tables.comparison(rows, tmp_path)
        assert frame.loc["lora", "adapter_bytes"] == 393_216
        shown = tables.styled(frame)
        assert [size in shown.text for size in ("384.0 KiB", "812 B", "12.6 MiB")] == [True] * 3
        header = next(line for line in shown.text.splitlines() if line.startswith("method"))
        assert header.index("trainable parameters") < header.index("saved adapter") < header.index("training (s)")

    def test_have_no_column_where_no_run_has_them(self, tmp_path):
        shown = tables.styled(tables.comparison(study(tmp_path, {Lora(): 0.5}), tmp_path))
        assert "saved adapter" not in shown.text


class TestAcrossModels:
    def rows(self, folder, large: float = 0.65) -> list[Row]:
        return [
            *study(folder, {ZeroShot(): 0.1, Lora(): 0.35, FullTuning(): 0.4}),
            *study(folder, {Lora(): large, Ia3(): 0.2}, model="large"),
        ]

    def test_smaller_models_come_first_and_shares_are_of_their_own(self, tmp_path):
        frame = tables.across_models(self.rows(tmp_path), tmp_path)
        assert list(frame["model"]) == ["tiny"] * 3 + ["large"] * 2
        assert list(frame["method"]) == ["zero-shot", "lora", "full", "lora", "ia3"]
        assert frame["trained_share"].tolist() == pytest.approx([0, 98_304 / TINY, 1, 98_304 / LARGE, 3_200 / LARGE])

    def test_every_other_line_is_tested_against_the_smallest_full_tuning(self, tmp_path):
        frame = tables.across_models(self.rows(tmp_path), tmp_path)
        assert frame.loc[frame["reference"], ["model", "method"]].values.tolist() == [["tiny", "full"]]
        assert frame["difference"].tolist() == pytest.approx([-0.3, -0.05, float("nan"), 0.25, -0.2], nan_ok=True)
        assert list(frame["verdict"].fillna("")) == ["lower", "lower", "", "higher", "lower"]

    def test_a_larger_full_tuning_is_not_the_reference(self, tmp_path):
        rows = [*self.rows(tmp_path), *study(tmp_path, {FullTuning(): 0.7}, model="large")]
        frame = tables.across_models(rows, tmp_path)
        assert frame.loc[frame["reference"], "model"].tolist() == ["tiny"]

    def test_the_order_of_rows_changes_nothing(self, tmp_path):
        rows = self.rows(tmp_path)
        frame = tables.across_models(rows, tmp_path)
        pd.testing.assert_frame_equal(tables.across_models(rows[::-1], tmp_path), frame)
        assert tables.answer_models(rows[::-1], tmp_path) == tables.answer_models(rows, tmp_path)

    def test_shown_says_memory_losses_and_the_reference(self, tmp_path):
        rows = [*self.rows(tmp_path), fake(tmp_path, run(FullTuning(), model="large"), [], status="out_of_memory")]
        shown = tables.shown_across_models(tables.across_models(rows, tmp_path))
        assert tags(shown.html) <= {"table", "thead", "tbody", "tr", "th", "td", "p", "small"}
        assert "out of memory" in shown.text
        assert "the reference" in shown.text
        assert "nan" not in shown.text.lower()
        assert "saved adapter" not in shown.text

    def test_other_differences_are_refused(self, tmp_path):
        rows = [fake(tmp_path, run(Lora()), right(0.5)), fake(tmp_path, run(Lora(), model="large", task="b"), right(1))]
        with pytest.raises(ValueError, match="a comparison has one task; got "):
            tables.across_models(rows, tmp_path)

    def test_an_unknown_metric_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="metric must be one of .*; got 'bleu'"):
            tables.across_models([], tmp_path, "bleu")

    def test_no_rows_are_an_empty_table(self, tmp_path):
        assert tables.across_models([], tmp_path).empty
        assert "No model was tuned in full" in tables.shown_across_models(tables.across_models([], tmp_path)).text


class TestAnswerModels:
    @pytest.mark.parametrize(("large", "verdict"), [(0.65, "holds"), (0.41, "is not decided"), (0.1, "does not hold")])
    def test_the_verdict_follows_the_test(self, tmp_path, large, verdict):
        said = tables.answer_models(TestAcrossModels().rows(tmp_path, large), tmp_path)
        assert f"a smaller one tuned in full {verdict} here." in said

    def test_the_gain_is_relative_too(self, tmp_path):
        said = tables.answer_models(TestAcrossModels().rows(tmp_path), tmp_path)
        assert "tuned in full, it reaches 40.0 % EM@1." in said
        assert "lora on large (10M parameters, 0.983 % of them trained) reaches 65.0 %: +25.0 points" in said
        assert "(+62.5 % relative), which is more than the noise (95 % interval +" in said
        assert "The study reports 39.8 to 72.3 %" in said

    def test_only_the_models_that_win_are_named(self, tmp_path):
        rows = [*TestAcrossModels().rows(tmp_path), *self.third(tmp_path)]
        assert "tuned in full holds for large only here." in tables.answer_models(rows, tmp_path)

    @staticmethod
    def third(folder) -> list[Row]:
        return [
            fake(folder, run(Lora(), seed, model="middle"), right(0.4), costs={"total_parameters": 5e6})
            for seed in SEEDS
        ]

    def test_one_model_decides_nothing(self, tmp_path):
        rows = study(tmp_path, {Lora(): 0.6, FullTuning(): 0.4})
        said = tables.answer_models(rows, tmp_path)
        assert "No larger model was tuned with LoRA with a result." in said
        assert "is not decided here." in said

    def test_without_full_tuning_nothing_is_decided(self, tmp_path):
        rows = [fake(tmp_path, run(FullTuning()), [], status=results.FAILED)]
        rows += study(tmp_path, {Lora(): 0.6}, model="large")
        said = tables.answer_models(rows, tmp_path)
        assert "no model was tuned in full with a result" in said
        assert "Without a result: full on tiny (failed)." in said

    def test_without_predictions_nothing_is_claimed(self, tmp_path):
        said = tables.answer_models(TestAcrossModels().rows(tmp_path), tmp_path / "elsewhere")
        assert "+25.0 points (+62.5 % relative), which cannot be tested" in said
        assert "is not decided here." in said

    def test_one_seed_says_so(self, tmp_path):
        rows = study(tmp_path, {FullTuning(): 0.4}, seeds=[1]) + study(tmp_path, {Lora(): 0.6}, [1], model="large")
        assert "How another seed would change lora on large or full on tiny is not known." in tables.answer_models(
            rows, tmp_path
        )

    def test_zero_percent_has_no_relative_gain(self, tmp_path):
        rows = study(tmp_path, {FullTuning(): 0.0}, [1]) + study(tmp_path, {Lora(): 0.6}, [1], model="large")
        assert "+60.0 points, which is more than the noise" in tables.answer_models(rows, tmp_path)

    def test_no_rows(self, tmp_path):
        assert tables.answer_models([], tmp_path) == "There are no runs yet, so the question stays open."


def losses(*values: float) -> dict:
    steps = [10 * (place + 1) for place in range(len(values))]
    best = min((value, step) for step, value in zip(steps, values, strict=True) if value == value)
    return {"validation_losses": [list(each) for each in zip(steps, values, strict=True)], "best_step": best[1]}


class TestLearningCurves:
    def test_steps_become_epochs_and_the_kept_checkpoint_is_marked(self, tmp_path):
        row = fake(tmp_path, run(Lora()), right(0.5), notes=losses(2.0, 1.0, 1.5, 1.7))
        frame = tables.learning_curves([row], tmp_path)
        assert frame["epoch"].tolist() == [1.25, 2.5, 3.75, 5.0]  # 40 steps are 5 epochs
        assert frame["kept"].tolist() == [False, True, False, False]

    def test_lost_runs_and_losses_that_are_no_numbers_have_no_line(self, tmp_path):
        rows = [
            fake(tmp_path, run(Lora()), right(0.5), notes=losses(2.0, float("nan"))),
            fake(tmp_path, run(Ia3()), [], status=results.FAILED, notes=losses(2.0, 1.0)),
            fake(tmp_path, run(ZeroShot()), right(0.1)),
        ]
        assert tables.learning_curves(rows, tmp_path)["method"].tolist() == ["lora"]


class TestSensitivity:
    def rows(self, folder) -> list[Row]:
        shares = {Lora(learning_rate=rate): share for rate, share in ((1e-2, 0.2), (1e-3, 0.5), (1e-4, 0.4))}
        shares |= {Ia3(learning_rate=rate): 0.3 for rate in (1e-1, 1e-2)}
        return study(folder, shares, split="validation")

    def test_a_method_has_a_line_a_rate_in_their_order(self, tmp_path):
        frame = tables.sensitivity(self.rows(tmp_path)[::-1], tmp_path)
        assert frame["method"].tolist() == ["lora"] * 3 + ["ia3"] * 2
        assert frame["learning_rate"].tolist() == [1e-4, 1e-3, 1e-2, 1e-2, 1e-1]
        assert frame["em@1"].tolist() == pytest.approx([0.4, 0.5, 0.2, 0.3, 0.3])
        assert set(frame["split"]) == {"validation"}

    def test_shown_says_the_spread_and_the_chosen_rate(self, tmp_path):
        frame = tables.sensitivity(self.rows(tmp_path), tmp_path)
        text = tables.shown_sensitivity(frame, chosen={"lora": 1e-4}).text
        line = next(line for line in text.splitlines() if line.strip().startswith("lora"))
        assert "[0.0001: 40.0], 0.001: 50.0, 0.01: 20.0" in line
        assert line.split()[-2:] == ["0.001", "30.0"]

    def test_another_setting_is_another_method(self, tmp_path):
        rows = study(tmp_path, {Lora(r=rank, learning_rate=rate): 0.5 for rank in (4, 8) for rate in (1e-3, 1e-2)})
        frame = tables.sensitivity(rows, tmp_path)
        assert frame["method"].tolist() == ["lora r=4"] * 2 + ["lora r=8"] * 2

    def test_a_rate_that_failed_keeps_its_line(self, tmp_path):
        rows = [fake(tmp_path, run(Lora(learning_rate=1.0)), [], status=results.FAILED)]
        frame = tables.sensitivity([*rows, *study(tmp_path, {Lora(): 0.5, ZeroShot(): 0.1})], tmp_path)
        assert frame["status"].tolist() == ["ok", "failed"]
        assert "1: failed" in tables.shown_sensitivity(frame).text

    def test_no_rows_are_an_empty_table(self, tmp_path):
        assert tables.sensitivity([], tmp_path).empty
        assert tables.shown_sensitivity(tables.sensitivity([], tmp_path)).text


def crossed(folder, joint: float = 0.6, foreign: float = 0.2, seeds=SEEDS) -> list[Row]:
    """Two tasks: an own adapter at 60 %, another task's, a joint one, and none at 20 %."""
    rows = []
    for task, other in (("a", "b"), ("b", "a")):
        rows += study(folder, {ZeroShot(): 0.2}, task=task)
        for train_task, share in ((None, 0.6), (other, foreign), ("a+b", joint)):
            rows += study(folder, {Lora(): share}, seeds, task=task, train_task=train_task)
    return rows


class TestTransfer:
    def test_is_a_line_a_pair_of_tasks(self, tmp_path):
        frame = tables.transfer(crossed(tmp_path, foreign=0.3), tmp_path)
        trained = ["nothing (zero-shot)", "a", "b", "a+b"]
        assert list(zip(frame["task"], frame["trained_on"], strict=True)) == [
            (t, each) for t in "ab" for each in trained
        ]
        assert frame["em@1"].tolist() == pytest.approx([0.2, 0.6, 0.3, 0.6, 0.2, 0.3, 0.6, 0.6])
        assert frame.loc[frame["own"], "trained_on"].tolist() == ["a", "b"]
        assert frame.loc[frame["joint"], "task"].tolist() == ["a", "b"]

    def test_joint_is_tested_against_own_and_foreign_against_nothing(self, tmp_path):
        frame = tables.transfer(crossed(tmp_path, joint=0.4, foreign=0.3), tmp_path).iloc[:4]
        assert frame["own_difference"].tolist() == pytest.approx([-0.4, float("nan"), -0.3, -0.2], nan_ok=True)
        assert list(frame["own_verdict"].fillna("")) == ["lower", "", "lower", "lower"]
        assert list(frame["nothing_verdict"].fillna("")) == ["", "higher", "higher", "higher"]

    def test_the_order_of_rows_changes_nothing(self, tmp_path):
        rows = crossed(tmp_path)
        frame = tables.transfer(rows, tmp_path)
        pd.testing.assert_frame_equal(tables.transfer(rows[::-1], tmp_path), frame)

    def test_joint_names_give_the_order_of_tasks(self, tmp_path):
        rows = [fake(tmp_path, run(Lora(), task=task, train_task="z+b"), right(0.5)) for task in ("b", "z")]
        assert tables.transfer(rows, tmp_path)["task"].tolist() == ["z", "b"]

    def test_several_methods_are_refused(self, tmp_path):
        rows = study(tmp_path, {Lora(): 0.5}) + study(tmp_path, {Ia3(): 0.5}, train_task="b")
        with pytest.raises(ValueError, match="one trained method with one setting, beside zero-shot; got ia3, lora"):
            tables.transfer(rows, tmp_path)
        rows = study(tmp_path, {Lora(r=4): 0.5}) + study(tmp_path, {Lora(r=8): 0.5}, train_task="b")
        with pytest.raises(ValueError, match="one trained method with one setting"):
            tables.transfer(rows, tmp_path)

    def test_shown_is_the_matrix_with_its_diagonal_marked(self, tmp_path):
        rows = [row for row in crossed(tmp_path) if row.settings["train_task"] != "b"]
        rows.append(fake(tmp_path, run(Lora(), task="a", train_task="b"), [], status=results.OUT_OF_MEMORY))
        shown = tables.shown_transfer(tables.transfer(rows, tmp_path))
        lines = {line.split("  ")[0].strip() or line.split()[0]: line for line in shown.text.splitlines()}
        assert shown.frame["trained on"].tolist() == ["nothing (zero-shot)", "a", "b", "a+b"]
        assert shown.frame["a"].tolist()[1].startswith("[60.0] (5")
        assert shown.frame["a"].tolist()[2] == "out of memory"
        assert any("a, a+b minus its own: 0.0 points, 95 % interval" in line for line in lines.values())


class TestAnswerTransfer:
    def test_a_joint_adapter_that_loses(self, tmp_path):
        said = tables.answer_transfer(crossed(tmp_path, joint=0.4), tmp_path)
        assert "on a the joint adapter (a+b) reaches 40.0 % EM@1 (beside the task's own adapter: −20.0 points" in said
        assert "does not lose to one for each task does not hold here: it loses on a and b." in said

    def test_a_joint_adapter_that_is_as_good(self, tmp_path):
        said = tables.answer_transfer(crossed(tmp_path, joint=0.65), tmp_path)
        assert "holds here: a loss of more than 5 points is excluded on every task." in said

    def test_few_examples_decide_nothing(self, tmp_path):
        rows = [
            fake(tmp_path, run(Lora(), task="a", train_task=trained), scores)
            for trained, scores in ((None, [1.0, 1.0, 0.0, 0.0, 1.0, 0.0]), ("a+b", [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]))
        ]
        said = tables.answer_transfer(rows, tmp_path)
        assert "is not decided here: no loss is shown, but one of " in said
        assert "How another seed would change them is not known." in said

    @pytest.mark.parametrize(
        ("foreign", "words"),
        [
            (0.4, "what it learned transfers"),
            (0.2, "no transfer that this data can show"),
            (0.05, "it is worse than no"),
        ],
    )
    def test_what_transfers_is_told(self, tmp_path, foreign, words):
        said = tables.answer_transfer(crossed(tmp_path, foreign=foreign), tmp_path)
        assert f"trained on b and asked on a reaches {100 * foreign:.1f} %: {words}" in said

    def test_without_a_joint_adapter_or_predictions_nothing_is_decided(self, tmp_path):
        rows = [row for row in crossed(tmp_path) if row.settings["train_task"] != "a+b"]
        said = tables.answer_transfer(rows, tmp_path)
        assert "no adapter was trained on several tasks jointly. The claim that" in said
        assert "is not decided here" in said
        said = tables.answer_transfer(crossed(tmp_path), tmp_path / "elsewhere")
        assert "is not decided here: not every task has predictions of both." in said

    def test_losses_are_told(self, tmp_path):
        rows = [fake(tmp_path, run(Lora(), task="a", train_task="a+b"), [], status=results.FAILED)]
        said = tables.answer_transfer([*rows, *study(tmp_path, {Lora(): 0.5})], tmp_path)
        assert "Without a result: a+b asked on a (failed)." in said

    def test_no_rows(self, tmp_path):
        assert tables.answer_transfer([], tmp_path) == "There are no runs yet, so the question stays open."


RANKED = {ZeroShot(): 0.1, Lora(): 0.65, Dora(): 0.4, Ia3(): 0.3, FullTuning(): 0.64}


class TestAnswerMethods:
    def test_lora_wins(self, tmp_path):
        said = tables.answer_methods(study(tmp_path, RANKED | {InContext(3): 0.9}), tmp_path)
        assert said.startswith("On a with tiny, PEFT methods rank by EM@1: lora 65.0 %, dora 40.0 %, ia3 30.0 %.")
        assert (
            "lora (65.0 %, with 3.93 % of the trained parameters) cannot be told from full fine-tuning (64.2 %" in said
        )
        assert "The claim that LoRA is the best PEFT method holds here." in said

    def test_a_tie_is_not_decided(self, tmp_path):
        said = tables.answer_methods(study(tmp_path, RANKED | {Dora(): 0.64}), tmp_path)
        assert "dora 64.2 % ≈, ia3 30.0 % (≈: this data cannot tell it from lora)." in said
        assert "is not decided here: it ranks first, but is not shown to beat dora." in said

    def test_another_first_is_decided_by_the_test(self, tmp_path):
        said = tables.answer_methods(study(tmp_path / "close", RANKED | {Dora(): 0.66}), tmp_path / "close")
        assert "is not decided here: dora scores higher (+0.8 points" in said
        said = tables.answer_methods(study(tmp_path / "far", RANKED | {Dora(): 0.9}), tmp_path / "far")
        assert "does not hold here: dora scores higher (+25.0 points" in said
        assert "dora (90.0 %, with 4.04 % of the trained parameters) beats full fine-tuning" in said

    def test_a_trained_parameter_is_priced(self, tmp_path):
        said = tables.answer_methods(study(tmp_path, RANKED | {LnTuning(): 0.63}), tmp_path)
        assert (
            "Per trained parameter ln-tuning brings most: 35.6 points above zero-shot for each thousand of its" in said
        )
        assert "The smallest that this data cannot tell from the best is ln-tuning, 1.5K." in said

    def test_a_custom_method_goes_by_its_name(self, tmp_path):
        methods = {Custom(config='{"a": 1}', name="boft"): 0.5, Custom(config='{"a": 2}', name="hra"): 0.3}
        said = tables.answer_methods(study(tmp_path, methods), tmp_path)
        assert "boft 50.0 %, hra 30.0 %." in said
        assert "is not decided here: it has no result." in said

    def test_an_unknown_kind_does_not_disturb(self, tmp_path):
        row = fake(tmp_path, run(Ia3(), seed=9), right(0.99))
        row.settings["method"] = {"kind": "from-the-future", "knob": 3}
        said = tables.answer_methods([row, *study(tmp_path, RANKED)], tmp_path)
        assert "from-the-future" not in said.partition("This rests")[0]
        assert "holds here." in said

    def test_qlora_is_no_rival_of_lora(self, tmp_path):
        rows = study(tmp_path, RANKED) + study(tmp_path, {Lora(): 0.66}, precision="nf4-dq")
        assert "is not decided here: qlora-4bit scores higher" in tables.answer_methods(rows, tmp_path)
        rows = study(tmp_path / "b", RANKED) + study(tmp_path / "b", {Lora(): 0.64}, precision="nf4-dq")
        assert "The claim that LoRA is the best PEFT method holds here." in tables.answer_methods(rows, tmp_path / "b")

    def test_without_predictions_nothing_is_claimed(self, tmp_path):
        said = tables.answer_methods(study(tmp_path, RANKED), tmp_path / "elsewhere")
        assert "dora 40.0 % ?, ia3 30.0 % ? (?: no predictions of the same examples)." in said
        assert "stands beside full fine-tuning (64.2 %; not tested" in said
        assert "is not decided here" in said

    def test_one_seed_and_lost_runs_are_told(self, tmp_path):
        rows = study(tmp_path, {Lora(): 0.6}, [1])
        rows += [
            fake(tmp_path, run(Dora()), [], status=results.OUT_OF_MEMORY),
            fake(tmp_path, run(Lora(), 2), [], status=results.FAILED),
        ]
        said = tables.answer_methods(rows, tmp_path, expected=[run(Ia3())])
        assert "lora is the only PEFT method with a result: EM@1 60.0 %." in said
        assert "Full fine-tuning has no result to compare with." in said
        assert "is not decided here: no other PEFT method has a result." in said
        assert "Without a result: dora (out of memory), ia3 (not run). Incomplete: lora (1 run of 2 without)." in said
        assert "How another seed would change lora is not known." in said

    def test_the_order_of_rows_changes_nothing(self, tmp_path):
        rows = study(tmp_path, RANKED)
        assert tables.answer_methods(rows[::-1], tmp_path) == tables.answer_methods(rows, tmp_path)

    def test_no_rows(self, tmp_path):
        assert tables.answer_methods([], tmp_path) == "There are no runs yet, so the question stays open."
