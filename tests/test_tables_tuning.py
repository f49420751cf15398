"""Claims on LoRA's rate, layers, rank and batches follow the best rate of each setting and the answers there."""

from dataclasses import replace

import pytest
from made_rows import SEEDS, put, right, run

from nblib import results, spec, tables
from nblib.spec import FullTuning, Lora, Training
from nblib.tables.tuning import BATCHES, LAYERS, RANKS, RATES

HOLDS, FAILS, OPEN = "holds", "does not hold", "is not decided"
RATES_TRIED = (1e-3, 1e-2)


def put_grid(folder, *, lora=0.6, hot=0.3, attention=0.4, low=0.6, high=0.6, lora_large=0.5, full_large=0.6):
    """LoRA and full tuning learn best at 1e-3; at 1e-2 LoRA has `hot`, and everything else nothing."""
    settings = [
        (Lora(), 8, lora, hot),
        (FullTuning(), 8, 0.6, 0.0),
        (Lora(targets=spec.ATTENTION, r=48), 8, attention, 0.0),
        (Lora(r=4), 8, low, 0.0),
        (Lora(r=64), 8, high, 0.0),
        (Lora(), 32, lora_large, 0.0),
        (FullTuning(), 32, full_large, 0.0),
    ]
    for method, batch, *shares in settings:
        for rate, share in zip(RATES_TRIED, shares, strict=True):
            for place, seed in enumerate(SEEDS):
                asked = run(replace(method, learning_rate=rate), seed, split="validation")
                asked = replace(asked, training=Training(batch_size=batch))
                losses = [[10, 2.0], [20, 1.0 if rate == RATES_TRIED[0] else 1.5], [30, float("nan")]]
                share = max(0.0, share + (place - 1) / 60)
                put(folder, asked, right(share, seed), notes={"validation_losses": losses})


@pytest.mark.parametrize(
    ("shares", "verdicts"),
    [
        ({}, [FAILS, HOLDS, HOLDS, HOLDS]),
        ({"hot": 0.9, "attention": 0.8, "high": 0.9, "full_large": 0.3}, [HOLDS, FAILS, FAILS, FAILS]),
        ({"hot": 0.6, "attention": 0.6, "high": 0.64, "full_large": 0.5}, [OPEN, OPEN, OPEN, OPEN]),
    ],
)
def test_each_claim_follows_its_own_runs(tmp_path, shares, verdicts):
    put_grid(tmp_path, **shares)
    found = tables.tuning(*results.load(tmp_path))
    assert {verdict.claim: verdict.verdict for verdict in found} == dict(
        zip([RATES, LAYERS, RANKS, BATCHES], verdicts, strict=True)
    )
    assert "lora at 0.01" in found[0].sentence
    assert "LoRA's at 0.001 and full tuning's at 0.001" in found[0].sentence
    assert all("to the validation split" in verdict.sentence for verdict in found)


def test_curves_name_settings_by_what_is_unusual_and_choose_by_the_mean_loss(tmp_path):
    put_grid(tmp_path)
    curves = tables.tuning_curves(results.load(tmp_path).runs)
    assert set(curves["method"]) == {
        *("lora", "full", "lora r=48, attention", "lora r=4", "lora r=64", "lora batch=32", "full batch=32"),
    }
    assert set(curves.loc[curves["best"], "learning_rate"]) == {1e-3}
    assert curves["loss"].min() == 1.0


def test_the_table_has_each_setting_at_its_best_rate(tmp_path):
    put_grid(tmp_path, lora=0.7)
    frame = tables.tuned(*results.load(tmp_path)).frame
    assert list(frame.index) == [
        *("lora", "lora batch=32", "lora r=4", "lora r=48, attention", "lora r=64", "full", "full batch=32"),
    ]
    assert set(frame["learning_rate"]) == {1e-3}
    assert frame["em@1_rank"].idxmin() == "lora"
    assert set(frame["seeds"]) == {len(SEEDS)}
    assert set(frame["search_seconds"]) == {len(RATES_TRIED) * 40.0}  # each training of these rows took so long


def test_a_rate_that_diverged_with_one_seed_is_not_chosen(tmp_path):
    for seed, loss in zip(SEEDS, (0.1, 0.1, float("nan")), strict=True):
        lost, well = (run(Lora(learning_rate=rate), seed, split="validation") for rate in (1e-2, 1e-3))
        put(tmp_path, lost, right(0.5), notes={"validation_losses": [[1, loss]]})
        put(tmp_path, well, right(0.5), notes={"validation_losses": [[1, 0.9]]})
    runs, answers = results.load(tmp_path)
    curves = tables.tuning_curves(runs)
    assert set(curves.loc[curves["best"], "learning_rate"]) == {1e-3}
    assert tables.tuning(runs, answers) == []  # nothing to compare LoRA with
