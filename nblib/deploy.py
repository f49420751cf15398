"""Uses a trained adapter: ask it as it was trained, or export a model that needs neither PEFT nor nblib."""

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
        """Writes the code for an intent, or for each of several, with greedy decoding.

        With `stream`, the answer to one intent comes in pieces while it is written, including its stop string.
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

        writer = Thread(target=write, daemon=True)
        writer.start()
        yield from streamer
        writer.join()  # the last piece comes before generation ends: PEFT has yet to take its virtual tokens off


def use(adapter: str | Path) -> Assistant:
    """Loads an adapter on its base model, wherever that is (embedded, folder, Hub, GGUF file); then `.ask` it.

    Raises ValueError for a folder without an adapter, ConnectionError if it needs the Hub and cannot reach it.
    """
    noted = methods.read(adapter)
    precision = _precision(noted)
    model, tokenizer = _base(noted, precision)
    return Assistant(methods.load(model, adapter), tokenizer, _task(noted), precision)


def origin(adapter: str | Path) -> tuple[str, str | spec.UserData, str, str | None]:
    """What an adapter was trained with: model, task, precision, and the folder of the task's files, if not the usual.

    Raises ValueError for a folder without an adapter, and for an adapter that no study trained.
    """
    noted = methods.read(adapter)
    settings = noted["facts"].get("settings", {})
    if not (data := _data(settings)):
        raise ValueError(f"{adapter} does not say which task it learned: only adapters that a study trained do")
    return noted["base"], data, _precision(noted), settings.get("data_dir")


def export(adapter: str | Path, folder: str | Path, kind: str = "merged") -> Path:
    """Merges the adapter into its base and writes an ordinary model folder; `ollama` adds a Modelfile.

    We merge into unquantized weights, even if the adapter was scored over quantized ones.
    Raises ValueError for an adapter that cannot be merged into weights, such as virtual tokens.
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


def _precision(noted: dict) -> str:
    """Half precision is for GPUs: without one, the same weights are computed with in full."""
    return "fp32" if noted["precision"] == "fp16" and models.device() == "cpu" else noted["precision"]


def _data(settings: dict) -> str | spec.UserData:
    """The name of the task that an adapter was trained on, or a user's own data; empty where nothing is noted."""
    own = settings.get("user_data")
    return spec.UserData(**own) if own else settings.get("train_task") or settings.get("task", "")


def _task(noted: dict) -> tasks.Task:
    """The task that an adapter was trained on; where nothing is noted, Python for an intent."""
    data = _data(noted["facts"].get("settings", {}))
    if isinstance(data, spec.UserData):
        return tasks.of(spec.Run("", data.name, spec.ZeroShot(), user_data=data))
    return tasks.get(data) if data else prompts.PLAIN


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
