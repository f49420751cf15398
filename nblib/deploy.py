"""A trained adapter put to use: asked as it was trained, or written as a model that needs neither PEFT nor nblib."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TextIteratorStreamer

from nblib import files, generate, methods, models, prompts, spec, tasks

CONVERTER = "convert_hf_to_gguf.py"  # llama.cpp's
KINDS = ("merged", "ollama")


@dataclass(frozen=True)
class Assistant:
    """A base with its adapter, which knows the template, the stop strings and the length of the task it learned."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    task: tasks.Task
    precision: str

    def ask(self, intent: str | Sequence[str], *, stream: bool = False) -> str | list[str] | Iterator[str]:
        """The code for an intent, or for each of several: the likeliest, word by word.

        With `stream` one intent's answer comes in pieces while it is written, up to and with its stop string.
        """
        if stream:
            return self._pieces(str(intent))
        intents = [intent] if isinstance(intent, str) else list(intent)
        greedy = {"new_tokens": self.task.output_tokens, "stops": self.task.stops, "precision": self.precision}
        texts, decoding = [self._prompt(text) for text in intents], spec.Decoding(beams=1, returned=1)
        found = generate.completions(self.model, self.tokenizer, texts, decoding, seed=0, **greedy)
        opened, written = prompts.is_chat(self.tokenizer), {index: text for index, (text,), _ in found}
        codes = [prompts.extract(written[index], self.task.stops, opened=opened) for index in range(len(intents))]
        return codes[0] if isinstance(intent, str) else codes

    def _prompt(self, intent: str) -> str:
        return prompts.query_text(tasks.Example("", intent, ""), self.tokenizer, self.task)

    def _pieces(self, intent: str) -> Iterator[str]:
        seq2seq = self.model.config.is_encoder_decoder
        ids = prompts.encode(self._prompt(intent), self.tokenizer, encoder_decoder=seq2seq)["input_ids"]
        inputs = torch.tensor([ids], device=self.model.device)
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=not seq2seq, skip_special_tokens=True)
        stops = {"stop_strings": prompts.ends(self.task.stops, self.tokenizer), "tokenizer": self.tokenizer}
        settings = {"max_new_tokens": self.task.output_tokens, "do_sample": False, "streamer": streamer} | stops

        def write() -> None:
            try:
                with generate.computing(self.model, self.precision):
                    self.model.generate(input_ids=inputs, attention_mask=torch.ones_like(inputs), **settings)
            finally:
                streamer.end()  # also of a generation that failed, whose reader would wait for ever

        Thread(target=write, daemon=True).start()
        yield from streamer


def use(adapter: str | Path) -> Assistant:
    """An adapter on its base, wherever that is: embedded, a folder, of the Hub, a GGUF file; `.ask` it.

    Raises ValueError for a folder without an adapter, ConnectionError where the Hub is needed and out of reach.
    """
    noted = methods.read(adapter)
    # Half precision is for GPUs: without one, the same weights are computed with in full.
    precision = "fp32" if noted["precision"] == "fp16" and models.device() == "cpu" else noted["precision"]
    model, tokenizer = _base(noted, precision)
    return Assistant(methods.load(model, adapter), tokenizer, _task(noted), precision)


def export(adapter: str | Path, folder: str | Path, kind: str = "merged") -> Path:
    """An ordinary model folder, the adapter merged into its base; for `ollama` with a Modelfile beside.

    A quantized base is merged unquantized: scores were taken over the quantized one.
    Raises ValueError for an adapter that is no part of the weights, such as virtual tokens.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    noted = methods.read(adapter)
    precision = noted["precision"] if noted["precision"] in ("fp32", "bf16") else "fp32"
    if noted["precision"] in spec.QUANTIZED:
        print(f"the adapter was trained and scored over {noted['precision']} weights; here they are {precision}")
    model, tokenizer = _base(noted, precision)
    attached = methods.load(model, adapter)
    if not hasattr(attached.base_model, "merge_and_unload"):
        raise ValueError(f"{adapter} holds no change of weights that could be merged: load it with nblib.use")
    merged = attached.merge_and_unload()
    with files.new_folder(folder) as unfinished:
        merged.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        if kind == "ollama":
            (unfinished / "Modelfile").write_text(_modelfile(tokenizer, _task(noted)), encoding="utf-8")
            _convert(unfinished, Path(folder))
    return Path(folder)


def _base(noted: dict, precision: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    trusted = noted["facts"].get("settings", {}).get("trust_remote_code", False)
    return models.load(noted["base"], precision, trust_remote_code=trusted)


def _task(noted: dict) -> tasks.Task:
    """The task that an adapter was trained on, a user's own too; where nothing is noted, Python for an intent."""
    settings = noted["facts"].get("settings", {})
    if own := settings.get("user_data"):
        run = spec.Run("", own["name"], spec.ZeroShot(), user_data=spec.UserData(**own))
        return tasks.of(run)
    name = settings.get("train_task") or settings.get("task")
    return tasks.get(name) if name else prompts.PLAIN


def _modelfile(tokenizer: PreTrainedTokenizerBase, task: tasks.Task) -> str:
    """Where the weights are, how a question is put, where an answer ends. A chat's template is with the weights."""
    ends = [f'PARAMETER stop "{stop}"'.replace("\n", "\\n") for stop in prompts.ends(task.stops, tokenizer)]
    lines = ["FROM ./model.gguf", "PARAMETER temperature 0", f"PARAMETER num_predict {task.output_tokens}", *ends]
    if not prompts.is_chat(tokenizer):
        question = prompts.query_text(tasks.Example("", "{{ .Prompt }}", ""), tokenizer, task)
        lines.append(f'TEMPLATE """{question}"""')
    return "\n".join(lines) + "\n"


def _convert(unfinished: Path, folder: Path) -> None:
    if converter := shutil.which(CONVERTER):
        command = [sys.executable, converter, str(unfinished), "--outfile", str(unfinished / "model.gguf")]
        subprocess.run(command, check=True)
    else:
        print(f"run llama.cpp's `python {CONVERTER} {folder} --outfile {folder}/model.gguf`, then `ollama create`")
