"""A trained adapter is asked as it was trained, and written as a model that plain transformers answers with alike."""

import pytest
import small
import small_methods
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import nblib
from nblib import methods, models, prompts, spec, tasks

INTENTS = ["add 3 to list `xs3`", "sort the list `xs`"]


def adapter(folder, method: spec.Trained, settings: dict, base: str = "") -> str:
    base = base or small.folder(folder / "base")
    model, tokenizer = models.load(base)
    attached = methods.attach(model, method, tokenizer, seed=1)
    small_methods.train(attached, small_methods.batch(model, tokenizer))
    facts = {"settings": settings}
    return str(methods.save(attached, folder / "adapter", base=base, precision="fp32", facts=facts))


@pytest.mark.parametrize("base", ["", "micro"])
def test_an_export_answers_in_plain_transformers_as_the_adapter_does(tmp_path, base):
    place = adapter(tmp_path, spec.Lora(), {"task": "conala-mini"}, base)
    assistant, task = nblib.use(place), tasks.get("conala-mini")
    codes = assistant.ask(INTENTS)
    assert codes == [assistant.ask(intent) for intent in INTENTS]
    assert len(codes) == 2
    exported = nblib.export(place, tmp_path / "merged")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(exported).eval(), AutoTokenizer.from_pretrained(exported)
    for intent, code in zip(INTENTS, codes, strict=True):
        ids = tokenizer(prompts.INSTRUCTION.format(intent=intent), return_tensors="pt")
        settings = {"max_new_tokens": task.output_tokens, "do_sample": False}
        with torch.inference_mode():
            written = model.generate(**ids, **settings, stop_strings=list(task.stops), tokenizer=tokenizer)
        text = tokenizer.decode(written[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        assert prompts.extract(text, task.stops) == code


def test_an_answer_comes_in_pieces(tmp_path):
    assistant = nblib.use(adapter(tmp_path, spec.PromptTuning(), {"task": "conala-mini"}))
    pieces = list(assistant.ask(INTENTS[0], stream=True))
    assert len(pieces) > 1
    assert prompts.extract("".join(pieces), assistant.task.stops) == assistant.ask(INTENTS[0])


def test_an_adapter_for_ones_own_data_keeps_its_words_and_ends(tmp_path, capsys):
    own = {"name": "mine", "place": "mine.csv", "columns": [["intent", "question"]], "input_tokens": 64}
    own |= {"output_tokens": 9, "stops": ["\n"], "language": "sql", "instruction": "Write SQL."}
    place = adapter(tmp_path, spec.Lora(), {"task": "mine", "user_data": own})
    folder = nblib.export(place, tmp_path / "ollama", kind="ollama")
    assert "run llama.cpp's `python convert_hf_to_gguf.py" in capsys.readouterr().out
    modelfile = (folder / "Modelfile").read_text()
    assert 'TEMPLATE """### Instruction:\nWrite SQL.' in modelfile
    assert "{{ .Prompt }}" in modelfile
    assert 'PARAMETER stop "\\n"' in modelfile
    assert AutoModelForCausalLM.from_pretrained(folder).config.hidden_size == 32


def test_what_cannot_be_exported_is_refused(tmp_path):
    place = adapter(tmp_path, spec.PromptTuning(), {})
    with pytest.raises(ValueError, match="holds no change of weights that could be merged"):
        nblib.export(place, tmp_path / "merged")
    with pytest.raises(ValueError, match="kind must be one of merged, ollama; got 'onnx'"):
        nblib.export(place, tmp_path / "merged", kind="onnx")
    assert not (tmp_path / "merged").exists()
