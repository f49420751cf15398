"""Named settings: the embedded default, and the study's own. Runs nothing."""

from dataclasses import dataclass, replace

from nblib import spec
from nblib.spec import Decoding, Training

FIVE_SAMPLES = Decoding(beams=1, returned=5, temperature=0.6, top_p=0.95)  # independent, as pass@k needs them


@dataclass(frozen=True)
class Preset:
    """Settings for every part of a comparison."""

    methods: tuple[spec.Method, ...]  # with their own settings; in-context learning once for each number of shots
    seeds: tuple[int, ...]  # of trained methods
    icl_seeds: tuple[int, ...]  # of the choice of examples
    training: Training
    decoding: Decoding
    sampling: Decoding = FIVE_SAMPLES  # of tasks whose answers are only run


PRESETS = {
    # For the embedded model on a CPU. Learning rates: the best of five for each method, on conala-mini's validation
    # split, by python tests/benchmarks/learning_rates.py
    "default": Preset(
        methods=(
            spec.ZeroShot(),
            spec.InContext(1),
            spec.InContext(2),
            spec.InContext(3),
            spec.Lora(learning_rate=5e-3),
            spec.Ia3(learning_rate=1e-1),
            spec.PromptTuning(learning_rate=3e-1),
            spec.PrefixTuning(learning_rate=3e-1),
            spec.FullTuning(learning_rate=2e-3),
        ),
        seeds=(42, 777, 5432),
        icl_seeds=(42, 777, 5432, 55555, 97),
        training=Training(epochs=4, batch_size=16, device_batch=16, optimizer="adamw_torch", evaluations_an_epoch=1),
        decoding=Decoding(early_stopping=True),
        sampling=replace(FIVE_SAMPLES, batch_size=20),
    ),
    # Weyssow et al. 2025, the defaults of its replication package. Full tuning is for small models: ask for it.
    "paper": Preset(
        methods=(
            spec.ZeroShot(),
            spec.InContext(1),
            spec.InContext(2),
            spec.InContext(3),
            spec.Lora(),
            spec.Ia3(),
            spec.PromptTuning(),
            spec.PrefixTuning(),
        ),
        seeds=(42,),
        icl_seeds=(42, 777, 5432, 55555, 97),
        training=Training(),
        decoding=Decoding(),
    ),
}


def get(name: str) -> Preset:
    """The preset of that name. Raises ValueError for an unknown one."""
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}; got {name!r}")
    return PRESETS[name]


def methods(preset: Preset, names: list[str], shots: list[int]) -> list[tuple[spec.Method, str | None]]:
    """The methods of those names as the preset sets them, each with the precision that its name stands for, if any.

    `icl` comes once for each number of shots; `qlora-8bit` and `qlora-4bit` are `lora` at a precision. Empty lists
    stand for the preset's own. Raises ValueError for an unknown name, for one named twice, and for shots without
    `icl` among the names.
    """
    own = {each.kind: each for each in preset.methods if not isinstance(each, spec.InContext)}
    own_shots = [each.shots for each in preset.methods if isinstance(each, spec.InContext)]
    names = names or list(dict.fromkeys(each.kind for each in preset.methods))
    for name in names:
        if name not in spec.METHODS and name not in spec.QLORA:
            raise ValueError(f"method must be one of {', '.join([*spec.METHODS, *spec.QLORA])}; got {name!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"methods must be named once each; got {', '.join(names)}")
    if shots and "icl" not in names:
        raise ValueError(f"shots need the method icl; methods are {', '.join(names)}")
    chosen: list[tuple[spec.Method, str | None]] = []
    for name in names:
        if name == "icl":
            chosen += [(spec.InContext(count), None) for count in shots or own_shots]
        else:
            kind = "lora" if name in spec.QLORA else name
            chosen.append((own[kind] if kind in own else spec.method(kind), spec.QLORA.get(name)))
    return chosen
