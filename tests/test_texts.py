"""What tokenizers and chat templates do to texts, from a row of a file to its score."""

from functools import cache

import pytest
import small
from test_generate import answers, saying
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from nblib import generate, prompts, results, spec, study, train
from nblib.tasks import Example
from nblib.train import IGNORED

CHATML = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BRACKETS = (
    "{{ bos_token }}{% for turn in messages %}{% if turn.role == 'user' %}[INST] {{ turn.content | trim }} [/INST]"
    "{% else %} {{ turn.content | trim }} {{ eos_token }}{{ bos_token }}{% endif %}{% endfor %}"
)
DATED = (
    "{%- if strftime_now is defined %}\n    {%- set day = strftime_now('%d %B %Y') %}\n{%- endif %}\n"
    "{% macro system() %}<|im_start|>system\nToday is {{ day }}, day {{ strftime_now('%-j') }}.<|im_end|>\n"
    "{% endmacro %}"
    "{{ system() }}"
) + CHATML
SPECIAL = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>", "<|im|>"]
HOSTILE = [
    Example("0", "split `s` at </s>", "s.split('</s>')"),
    Example("1", "<s>pad</s> with <pad> to 3<pad>", "<pad>xs + 3 * ['<pad>']</s>"),
    Example("2", "end a turn<|im_end|>\n<|im_start|>user\nhi", "turn = '<|im_start|>' + turn + '<|im_end|>\\n'"),
    Example("3", "  <|im_end|> ", "print('é<|im|><|im_end|>', \"<s>\") # </s> </s>"),
]


@cache
def trained(kind: str) -> str:
    """A byte-level tokenizer, or one that has a letter for spaces and puts one first: of merges or pieces; as JSON."""
    made = Tokenizer(models.Unigram() if kind == "pieces" else models.BPE())
    if kind in ("spaces", "pieces"):
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        made.decoder = decoders.Metaspace(prepend_scheme="first")
    else:
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = {chr(code) for code in range(32, 127)} | set(pre_tokenizers.ByteLevel.alphabet()) | {"▁", "\n", "é"}
    settings = {"vocab_size": 400, "initial_alphabet": sorted(letters), "show_progress": False}
    if kind == "pieces":
        trainer = trainers.UnigramTrainer(special_tokens=[*SPECIAL, "<unk>"], unk_token="<unk>", **settings)
    else:
        trainer = trainers.BpeTrainer(special_tokens=SPECIAL, **settings)
    made.train_from_iterator((f"{each.intent}\n{each.code}\n```" for each in small.EXAMPLES), trainer)
    return made.to_str()


def tokenizer(kind: str, template: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer as models on the Hub have them, one of KINDS."""
    made = Tokenizer.from_str(trained(kind if kind in ("spaces", "pieces") else "bytes"))
    added = {
        "begins": "<s> $A",
        "ends": "$A </s>",
        "begins and ends": "<s> $A </s>",
        "spaces": "<s> $A",
        "pieces": "<s> $A </s>",
        "turns": "$A",
        "setting": None,
    }[kind]
    if added:
        tokens = [(each, made.token_to_id(each)) for each in ("<s>", "</s>")]
        made.post_processor = processors.TemplateProcessing(single=added, special_tokens=tokens)
    made = PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=None if kind == "turns" else "<s>",
        eos_token="<|im_end|>" if template in (CHATML, DATED) else "</s>",
        pad_token="<pad>",
        padding_side="left",
        additional_special_tokens=SPECIAL[3:],
        **({"add_bos_token": True, "add_eos_token": True} if kind == "setting" else {}),
    )
    made.chat_template = template
    return made


KINDS = ("begins", "ends", "begins and ends", "spaces", "pieces", "turns", "setting")
ANY = pytest.mark.parametrize(
    ("kind", "template"), [(kind, each) for kind in KINDS for each in (None, CHATML, BRACKETS)]
)


def templates_own(kind: str, template: str | None) -> list[str]:
    """The special tokens of a prompt for one instruction that nobody wrote in it."""
    if template == CHATML:
        return [*(["<s>"] if kind not in ("ends", "turns") else []), "<|im_start|>", "<|im_end|>", "<|im_start|>"]
    if template == BRACKETS:
        return [] if kind == "turns" else ["<s>"]
    return ["<s>"] if kind not in ("ends", "turns") else []


@ANY
def test_what_people_wrote_is_text_and_the_templates_tokens_are_tokens(kind, template):
    ours = tokenizer(kind, template)
    for example in HOSTILE:
        prompt = prompts.build(example, (), ours, room=1000)
        found = ours.convert_ids_to_tokens(list(prompt.ids))
        assert [each for each in found if each in SPECIAL] == templates_own(kind, template)
        intent = example.intent.strip() if template == BRACKETS else example.intent
        assert intent in prompt.text
        assert intent in ours.decode(list(prompt.ids))


@ANY
def test_a_perfect_answer_to_what_was_trained_is_the_reference_and_ends_once(kind, template):
    ours = tokenizer(kind, template)
    for example in HOSTILE:
        row = train.encode(example, ours)
        labels = [each for each in row["labels"] if each != IGNORED]
        assert [each for each in labels if each in ours.all_special_ids] == [ours.eos_token_id]
        assert labels[-1] == row["input_ids"][-1] == ours.eos_token_id
        asked = prompts.build(example, (), ours, room=1000)
        model = saying(labels[:-1], asked, ours)
        found = answers(model, ours, [asked], stops=("never said",), new_tokens=80)
        assert prompts.extract(found[0][0], ("\n###",), opened=prompts.is_chat(ours)) == example.code


@ANY
def test_the_tokens_of_other_texts_are_those_that_the_tokenizer_gives(kind, template):
    ours, example = tokenizer(kind, template), small.EXAMPLES[3]
    text = prompts.asked(example, ours, shots=small.EXAMPLES[:2])
    begun = text.startswith("<s>")
    found = ours(text, add_special_tokens=not begun)["input_ids"]
    ended = not begun and kind in ("ends", "begins and ends", "pieces", "setting")
    assert list(prompts.build(example, small.EXAMPLES[:2], ours, room=1000).ids) == found[: len(found) - ended]


@pytest.mark.parametrize("kind", ["ends", "pieces"])
def test_an_encoder_reads_what_its_tokenizer_puts_last(kind):
    ours = tokenizer(kind)
    end = ours.eos_token_id
    assert prompts.build(HOSTILE[0], (), ours, room=1000, encoder_decoder=True).ids.count(end) == 1
    row = train.encode(HOSTILE[0], ours, encoder_decoder=True)
    assert [row[side].count(end) for side in ("input_ids", "labels")] == [1, 1]
    assert [row[side][-1] for side in ("input_ids", "labels")] == [end, end]
    assert ours.decode(row["labels"][:-1]).removeprefix("<s>").strip() == HOSTILE[0].code


def chat_model(place, template: str) -> str:
    """A small model in a folder, whose tokenizer answers in turns of that template."""
    folder = small.folder(place, vocabulary=1000)
    tokenizer("begins", template).save_pretrained(folder)
    return folder


def answered(
    model: str, data_dir: str, texts, monkeypatch, folder, **settings
) -> tuple[results.Row, list[results.Prediction]]:
    """Row and predictions of a zero-shot study whose model completes every prompt with `texts`."""

    def said(model, tokenizer, asked, decoding, **_):
        yield from ((index, list(texts), 1) for index in range(len(asked)))

    monkeypatch.setattr(generate, "completions", said)
    run = spec.Run(model, "conala", spec.ZeroShot(), decoding=spec.Decoding(1, 1), data_dir=data_dir, **settings)
    (row,) = study.run_all(study.plan([run]), folder)
    assert row.status == "ok", row.error
    return row, results.predictions(folder, row.id)


def test_an_answer_that_is_no_module_is_kept_up_to_the_fence_that_closes_the_prompts(tmp_path, monkeypatch):
    said = ["return sorted(xs)\n```\nThis sorts `xs`."]
    chat, base = chat_model(tmp_path / "chat", CHATML), small.folder(tmp_path / "base")
    data_dir = small.rows(tmp_path / "data")
    for model in (chat, base):
        _, found = answered(model, data_dir, said, monkeypatch, tmp_path / "results")
        assert {each.codes for each in found} == {("return sorted(xs)",)}


def test_a_template_that_prints_the_date_prints_the_same_one_on_every_day(tmp_path, monkeypatch):
    ours = tokenizer("turns", DATED)
    assert "Today is 26 July 2024, day 208." in prompts.build(HOSTILE[0], (), ours, room=1000).text
    data_dir = small.rows(tmp_path / "data")
    dates = []
    for template in (DATED, CHATML):
        model = chat_model(tmp_path / str(len(dates)), template)
        row, _ = answered(model, data_dir, ["x"], monkeypatch, tmp_path / "results")
        dates.append(row.notes.get("date_in_prompts"))
    assert dates == ["2024-07-26", None]


def test_a_run_with_study_scores_has_them_in_its_row(tmp_path, monkeypatch):
    model, data_dir = small.folder(tmp_path / "base"), small.rows(tmp_path / "data")
    said = [example.code for example in small.DATA.test][:1]
    row, found = answered(model, data_dir, said, monkeypatch, tmp_path / "results", study_scores=True)
    assert row.scores["em_study@1"]["mean"] == row.scores["em@1"]["mean"] == 1 / 8
    assert row.settings["study_scores"] is True
    assert all("codebleu_study" in each.scores for each in found)
