"""What tokenizers and chat templates do to texts, from a row of a file to its score."""

import small
from transformers import AutoTokenizer

from nblib import generate, results, spec, study

CHATML = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_model(place, template: str = CHATML, *, end: str = "<|im_end|>", marks=("<|im_start|>",)) -> str:
    """A small model in a folder, whose tokenizer answers in turns of that template."""
    folder = small.folder(place, vocabulary=450)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"eos_token": end, "additional_special_tokens": list(marks)})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


def answer(model: str, data_dir: str, texts, monkeypatch, folder) -> list[results.Prediction]:
    """The predictions of a zero-shot study whose model completes every prompt with `texts`."""

    def said(model, tokenizer, asked, decoding, **settings):
        yield from ((index, list(texts), 1) for index in range(len(asked)))

    monkeypatch.setattr(generate, "completions", said)
    run = spec.Run(model, "conala", spec.ZeroShot(), decoding=spec.Decoding(1, 1), data_dir=data_dir)
    (row,) = study.run_all(study.plan([run]), folder)
    assert row.status == "ok", row.error
    return results.predictions(folder, row.id)


def test_an_answer_that_is_no_module_is_kept_up_to_the_fence_that_closes_the_prompts(tmp_path, monkeypatch):
    said = ["return sorted(xs)\n```\nThis sorts `xs`."]
    chat, base = chat_model(tmp_path / "chat"), small.folder(tmp_path / "base")
    data_dir = small.rows(tmp_path / "data")
    for model in (chat, base):
        found = answer(model, data_dir, said, monkeypatch, tmp_path / "results")
        assert {each.codes for each in found} == {("return sorted(xs)",)}
