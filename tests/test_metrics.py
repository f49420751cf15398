"""Metrics at their limits, on cases worked by hand, on hostile text, and against the packages that publish them."""

import json
import logging
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from codebleu import calc_codebleu, dataflow_match
from codebleu.parser import DFG

from nblib import metrics
from nblib.metrics import as_studied, chr_f, code_bleu, exact_match_at_k, execution, syntax
from nblib.results import Prediction
from nblib.tasks import Example

ROOT = Path(__file__).parents[1]
CONALA = ROOT.parent / "shared" / "datasets" / "conala" / "test.jsonl"

HOSTILE = {
    "empty": "",
    "null byte": "x = 1\0",
    "long": "x = foo(bar)\n" * 8_000,
    "nested parentheses": "(" * 20_000 + ")" * 20_000,
    "open brackets": "[" * 20_000,
    "chain": "x" + ".a" * 20_000,
    "invalid escape": r"re.match('\d', x)",
    "doubtful comparison": "x is 1",
    "lone surrogate": "x = '\ud800'",
    "carriage returns": "x = 1\r\ny = 2\r\n",
    "long integer": "9" * 10_000,
    "nested loops": "".join(" " * depth + "while a:\n" for depth in range(30)) + " " * 30 + "b = a",
}


def example(id: str, code: str) -> Example:
    return Example(id=id, intent="", code=code)


def prediction(id: str, *codes: str, **scores: float) -> Prediction:
    return Prediction(id, codes, codes, prompt_tokens=0, new_tokens=0, scores=scores)


def scores(reference: str, *answers: str, ks=(1, 2, 5, 10), **settings) -> dict:
    return metrics.score([example("a", reference)], [prediction("a", *answers)], ks=ks, **settings)[0].scores


@pytest.fixture(scope="module")
def conala() -> list[str]:
    if not CONALA.exists():
        pytest.skip(f"needs CoNaLa's test split at {CONALA}")
    rows = [json.loads(line)["cmd"] for line in CONALA.read_text().splitlines()]
    assert len(rows) == 543
    return rows


def test_a_reference_in_second_place_counts_from_k_2_on():
    found = exact_match_at_k.score("b", ["a", " b\n", "c"], (1, 2, 3))
    assert [found[f"em@{k}"] for k in (1, 2, 3)] == [0, 1, 1]


def test_a_k_beyond_the_answers_is_left_out():
    assert [name for name in scores("a", "a", "b") if name.startswith("em")] == ["em@1", "em@2", "em_ast@1", "em_ast@2"]


@pytest.mark.parametrize("answer", ['print( "a",b )', "print('a', b)  # both", "(print('a', b))", "print('a',\n b)"])
def test_quotes_spacing_and_comments_do_not_count_for_em_ast(answer):
    assert exact_match_at_k.score("print('a', b)", [answer], (1,)) == {"em@1": 0, "em_ast@1": 1}


@pytest.mark.parametrize("answer", ["f(b, a)", "f(a, 'b')", "f(a, b, 1)", "f(a)", "F(a, b)", "f(a, b) + 0", "f(a,"])
def test_other_code_is_no_match_for_em_ast(answer):
    assert exact_match_at_k.score("f(a, b)", [answer], (1,)) == {"em@1": 0, "em_ast@1": 0}


def test_all_statements_count_and_what_is_not_python_is_compared_as_text():
    cases = (("x=1;y=2", "x = 1\ny = 2"), ("x=1;y=2", "x = 1"), ("print 'a'", " print 'a'"), ("print 'a'", 'print "a"'))
    found = [exact_match_at_k.score(reference, [answer], (1,))["em_ast@1"] for reference, answer in cases]
    assert found == [1, 0, 1, 0]


@pytest.mark.parametrize(("answer", "valid"), [("x = 1", 1), ("  f()\n", 1), ("x =", 0), ("", 0), ("# only talk", 0)])
def test_valid_is_what_parses_and_holds_a_statement(answer, valid):
    assert syntax.score(answer) == {"syntax_valid": valid}


def test_chrf_of_two_letters_by_hand():
    # One letter of two, no pair of one, no word of one; precision equals recall, so F is their mean over the orders.
    found = chr_f.score("ac", "ab")
    assert found["chrf"] == pytest.approx((1 / 2 + 0) / 2, abs=1e-12)
    assert found["chrf++"] == pytest.approx((1 / 2 + 0 + 0) / 3, abs=1e-12)


def test_codebleu_by_hand():
    # Of the answer's five words 4 are found, of its four pairs 2, of its three triples 1, of its two quadruples none.
    found = code_bleu.score("x = a + b", "x = a - b")
    words = (4 / 5 * 2 / 4 * 1 / 3 * 0.1 / 2) ** (1 / 4)
    assert found["codebleu_ngram"] == pytest.approx(words, abs=1e-12)
    assert found["codebleu_weighted_ngram"] == pytest.approx(words, abs=1e-12)  # no keyword among them
    assert found["codebleu_syntax"] == 1  # the operator is no node of its own
    assert found["codebleu_dataflow"] == 1  # x comes from a and b in both
    assert found["codebleu"] == pytest.approx((2 * words + 2) / 4, abs=1e-12)
    assert found["codebleu_corrected"] == pytest.approx(found["codebleu"], abs=1e-12)


def test_keywords_weigh_five_times_as_much_in_recall():
    # Words found: `x`, `y` of 0.2 each; missed: the keywords `not` and `in` of 1 each; one pair of three, no triple.
    recall = code_bleu._recall("x not in y".split(), "x y".split())
    assert recall == pytest.approx((0.4 / 2.4 * 0.1 / 3 * 0.1 / 2 * 0.1 / 1) ** (1 / 4), abs=1e-12)


def test_a_one_word_match_loses_in_the_published_number_only():
    found = code_bleu.score("f(x)", "f(x)")
    ngram = (1 * 0.1**3) ** (1 / 4)  # no pairs, triples, quadruples: a tenth of one is found
    weighted = (0.2 * 0.1**3) ** (1 / 4) * math.exp(1 - 2 / 1)  # and every reference is taken to be two words long
    assert found["codebleu"] == pytest.approx((ngram + weighted + 1 + 1) / 4, abs=1e-12)
    assert found["codebleu_corrected"] == 1


def test_empty_answers_get_a_quarter_in_the_published_number_only():
    references = ["f(x)", "y = g(x)", "for a in b:\n    print(a)"]
    assert code_bleu.corpus(references, [""] * 3)["codebleu"] == 0.25
    assert [code_bleu.score(each, "")["codebleu"] for each in references] == [0.25] * 3
    assert [code_bleu.score(each, "")["codebleu_corrected"] for each in references] == [0] * 3


def test_missed_data_flow_counts_as_matched_in_the_published_number_only():
    found = code_bleu.score("y = g(x) + x", "import os")
    assert found["codebleu_dataflow"] == 0
    assert found["codebleu"] == 0.25
    assert found["codebleu_corrected"] == 0


def test_a_reference_without_data_flow_has_none():
    found = code_bleu.score("f(1) if g(2) else h(3)", "f(1) if g(2) else h(4)")
    assert found["codebleu_dataflow"] is None
    three = [found[name] for name in code_bleu.PARTS[:3]]
    assert found["codebleu_corrected"] == pytest.approx(sum(three) / 3, abs=1e-12)
    assert found["codebleu"] == pytest.approx((sum(three) + 1) / 4, abs=1e-12)


def test_a_lone_string_is_no_syntax_to_be_matched_by_nothing():
    assert code_bleu.score("'hello'", "")["codebleu_syntax"] == 1  # the package takes it for a docstring
    assert code_bleu.score("'hello'", "")["codebleu_corrected"] == 0


def test_the_published_number_is_the_package_s_on_conala(conala, monkeypatch, caplog):
    caplog.set_level(logging.ERROR)  # the package warns of every text without data flow
    references, answers = conala[:150], [each.replace("(", "( ").replace("i", "j") for each in conala[1:151]]
    answers[:10] = references[:10]
    for module in (
        dataflow_match,
        DFG,
    ):  # the package's own order of names changes with the process, and scores with it
        monkeypatch.setattr(module, "set", code_bleu._Ordered, raising=False)
    for one, answer in zip(references, answers, strict=True):
        theirs = calc_codebleu([one], [answer], "python")["codebleu"]
        assert code_bleu.score(one, answer)["codebleu"] == pytest.approx(theirs, abs=1e-9)
    theirs = calc_codebleu([[each] for each in references], answers, "python")["codebleu"]
    assert code_bleu.corpus(references, answers)["codebleu"] == pytest.approx(theirs, abs=1e-9)


def test_perfect_and_empty_answers_to_conala_score_as_the_docstring_says(conala):
    perfect = [code_bleu.score(each, each) for each in conala]
    assert all(each["codebleu_corrected"] == pytest.approx(1, abs=1e-12) for each in perfect)
    assert sum(each["codebleu"] for each in perfect) / len(perfect) == pytest.approx(0.76, abs=0.005)
    assert sum(each["codebleu_dataflow"] is None for each in perfect) / len(perfect) == pytest.approx(0.56, abs=0.005)
    assert sum(len(each.split()) < 4 for each in conala) / len(conala) == pytest.approx(0.66, abs=0.005)
    assert code_bleu.corpus(conala, [""] * len(conala))["codebleu"] == 0.25


# --- all scores together --------------------------------------------------------------------------------------------


def test_an_identical_answer_has_full_marks_and_one_with_nothing_in_common_has_none():
    reference = "y = [f(x) for x in z]"
    found = scores(reference, reference, ks=(1,))
    assert found == {name: pytest.approx(1, abs=1e-12) for name in found}
    found = scores(reference, "@", ks=(1,))
    assert {name for name, value in found.items() if value} == {"codebleu"}  # 0.25, its known fault


@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize("code", ["def f(x):\n    # x\n    return x\n", "for x in\nno python"])
def test_line_ends_of_another_system_change_no_score(code, end):
    assert scores(code, "x", code) == scores(code.replace("\n", end), "x", code)
    assert scores(code, code) == scores(code.replace("\n", end), code) == scores(code, code.replace("\n", end))
    assert scores(code.replace("\n", end), code)["em@1"] == 1
    assert metrics.load("em").compute(predictions=[[code]], references=[code.replace("\n", end)])["em@1"] == 1


def test_scores_of_rows_have_the_names_of_the_table():
    names = {*scores("x", "x", study_scores=True), *execution.scores([("passed",)], sampled=True, ks=[1])}
    assert {name.partition("@")[0] for name in names} == set(metrics.METRICS)


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ("x = 1", "x = 1"),
        ("x = a < b", "x = a "),
        ("x = a > b", "x = a "),
        ("def f() -> int:", "def f() -"),
        ("x = 1<|endoftext|>y", "x = 1"),
        ("endoftext = 1", ""),
        ("x = a | b", "x = a | b"),
        ("x = '|>'", "x = '|"),
        ("", ""),
    ],
)
def test_the_studys_package_ends_an_answer_at_a_part_of_its_end_token(answer, left):
    assert as_studied.cut(answer) == left


def test_study_scores_are_those_of_cut_answers_and_only_on_request():
    references = ["x = a", "x = a < b", "x = 1"]
    answers = [("y", "x = a < b"), ("x = a < b", "x = a"), ("x = 1", "x = 1 > 2")]
    examples = [example(str(at), code) for at, code in enumerate(references)]
    given = [prediction(str(at), *codes) for at, codes in enumerate(answers)]
    usual = metrics.score(examples, given)
    assert not any("study" in name for each in usual for name in each.scores)
    scored = metrics.score(examples, given, study_scores=True)
    assert [each.scores["em@1"] for each in scored] == [0, 1, 1]
    assert [each.scores["em_study@1"] for each in scored] == [0, 0, 1]
    assert [each.scores["em_study@2"] for each in scored] == [1, 0, 1]
    assert scored[1].scores["codebleu_study"] == code_bleu.score("x = a < b", "x = a ")["codebleu"]
    assert [each.scores | {} for each in usual] == [
        {name: value for name, value in each.scores.items() if "study" not in name} for each in scored
    ]
    table = metrics.summary(scored, examples)
    corpus = code_bleu.corpus(references, ["y", "x = a ", "x = 1"])["codebleu"]
    assert table["codebleu_study"]["corpus"] == pytest.approx(corpus)
    assert table["codebleu"]["corpus"] == metrics.summary(usual, examples)["codebleu"]["corpus"]
    found = metrics.load("em_study").compute(predictions=[list(each) for each in answers], references=references, k=2)
    assert found == {"em_study@2": pytest.approx(2 / 3), "codebleu_study": pytest.approx(corpus)}


def test_every_score_has_a_meaning_and_a_module():
    found = dict.fromkeys(name.split("@")[0] for name in scores("a", "a", study_scores=True))
    assert set(found) == {name for name, each in metrics.METRICS.items() if each.module != "execution"}
    for name in metrics.METRICS:
        folder = metrics.folder(name)
        assert (folder / f"{folder.name}.py").exists()  # where evaluate looks


def test_an_unknown_metric_or_a_k_below_1_is_refused():
    with pytest.raises(ValueError, match=r"metric must be one of em, .*; got 'bleu'"):
        metrics.load("bleu")
    with pytest.raises(ValueError, match="k must be 1 or more; got 0"):
        scores("a", "a", ks=(0,))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_scored_like_any_other(name):
    for reference in ("for a in b:\n    c = a + d", HOSTILE[name][:5_000]):
        start = time.process_time()
        found = scores(reference, HOSTILE[name])
        assert time.process_time() - start < 5  # with thirty nested loops the package would need 2**30 rounds
        assert all(value is None or 0 <= value <= 1 for value in found.values())


def test_two_hundred_lines_are_scored_in_well_under_five_seconds():
    lines = [f"df.groupby('c{at}').agg(lambda x: x.value_counts().index[{at}])" for at in range(200)]
    examples, made = [example(line, line) for line in lines], [prediction(line, line, line + "  ") for line in lines]
    start = time.process_time()
    metrics.summary(metrics.score(examples, made), examples)
    assert time.process_time() - start < 2.5


def test_predictions_are_matched_by_id_whatever_their_order():
    examples = [example("a", "x"), example("b", "y")]
    scored = metrics.score(examples, [prediction("b", "y"), prediction("a", "z")])
    assert [(each.example, each.scores["em@1"]) for each in scored] == [("b", 1), ("a", 0)]


def test_scores_from_elsewhere_are_kept():
    scored = metrics.score([example("a", "x")], [prediction("a", "x", tests_passed=1.0)])
    assert scored[0].scores["tests_passed"] == 1
    assert scored[0].scores["em@1"] == 1


@pytest.mark.parametrize(
    ("examples", "answered", "message"),
    [
        ("ab", "a", "'b' has no prediction;"),
        ("abc", "a", r"'b' has no prediction \(and 1 more\)"),
        ("a", "az", "'z' has a prediction but is not among the examples"),
        ("a", "aa", "'a' comes twice among the predictions"),
        ("aa", "a", "'a' comes twice among the examples"),
    ],
)
def test_ids_that_do_not_fit_are_an_error_that_names_one(examples, answered, message):
    pair = [example(id, "x") for id in examples], [prediction(id, "x", em=1.0) for id in answered]
    with pytest.raises(ValueError, match=message):
        metrics.score(*pair)
    with pytest.raises(ValueError, match=message):
        metrics.summary(*reversed(pair))


def test_a_summary_counts_what_is_missing():
    examples = [example("a", "f(1)"), example("b", "y = x + x"), example("c", "z")]
    made = [prediction("a", "f(1)", "f(2)"), prediction("b", "y = x + x"), prediction("c")]
    table = metrics.summary(metrics.score(examples, made), examples)
    assert table["em@1"] == {"mean": 1, "n": 2, "missing": 1}
    assert table["em@2"] == {"mean": 1, "n": 1, "missing": 2}
    assert table["syntax_valid"] == {"mean": 1, "n": 2, "missing": 1}
    assert (table["codebleu_dataflow"]["n"], table["codebleu_dataflow"]["missing"]) == (1, 2)
    table = metrics.summary(metrics.score(examples[:1], made[:1]), examples[:1])
    assert table["codebleu_dataflow"] == {"mean": None, "n": 0, "missing": 1, "corpus": None}


def test_the_corpus_number_pools_and_is_no_mean():
    examples = [example("a", "x = a + b"), example("b", "print(c)")]
    made = [prediction("a", "x = a - b"), prediction("b", "import os")]
    table = metrics.summary(metrics.score(examples, made), examples)
    pair = [each.code for each in examples], [each.codes[0] for each in made]
    for name, value in (code_bleu.corpus(*pair) | chr_f.corpus(*pair)).items():
        assert table[name]["corpus"] == value
    assert table["chrf"]["corpus"] != pytest.approx(table["chrf"]["mean"], abs=1e-3)
    assert "corpus" not in table["em@1"]


def test_a_summary_of_predictions_without_scores_is_refused():
    with pytest.raises(ValueError, match="pass what metrics.score returns"):
        metrics.summary([prediction("a", "x")], [example("a", "x")])


# --- in a process of its own ----------------------------------------------------------------------------------------

REPEATABLE = """
import sys
from nblib.metrics import code_bleu
loop = "for key, value in pairs:\\n    total, other = other + key * value, total - key\\n    key = value + total"
print([code_bleu.score(loop, loop.replace(*each))["codebleu"] for each in (("key", "other"), ("total", "value"))])
print([name for name in ("torch", "transformers", "evaluate") if name in sys.modules])
"""

OFFLINE = """
import json, os, socket, sys
def refuse(*arguments, **settings):
    raise AssertionError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = refuse
sys.modules["transformers"] = None  # evaluate wants its list of pipelines only; without, it loads in a second
import evaluate
del sys.modules["transformers"]
from nblib import metrics
texts = dict(predictions=["x = f(2)", ""], references=["x = f(1)", "y"])
lists = dict(predictions=[["a", "b"], ["'q'", "c"]], references=["b", '"q"'])
found = {name: metrics.load(name).compute(**texts) for name in ("codebleu", "chrf", "syntax_valid")}
found["em"] = metrics.load("em").compute(**lists, k=(1, 2))
found["left behind"] = os.path.exists(os.environ["HF_HOME"])
try:
    metrics.load("em").compute(**lists, k=3)
except ValueError as error:
    found["refusal"] = str(error)
for name in ("codebleu", "chrf", "syntax_valid", "em"):
    module = evaluate.load(str(metrics.folder(name)))
    found["by path " + name] = module.compute(**(lists | {"k": (1, 2)} if name == "em" else texts))
print(json.dumps(found))
"""


def run_elsewhere(program: str, folder: Path, **variables: str) -> str:
    """What the program prints, run from another folder than the repository."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def offline(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("elsewhere")
    settings = {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
    return json.loads(run_elsewhere(OFFLINE, folder, **settings).splitlines()[-1])


def test_codebleu_is_the_same_in_every_process_and_needs_no_torch(tmp_path):
    printed = [run_elsewhere(REPEATABLE, tmp_path, PYTHONHASHSEED=seed).splitlines() for seed in ("1", "2")]
    assert printed[0] == printed[1]
    assert printed[0][1] == "[]"


def test_modules_load_offline_from_another_folder_and_leave_nothing_behind(offline):
    assert offline["em"] == {"em@1": 0, "em@2": 0.5, "em_ast@1": 0.5, "em_ast@2": 1}
    assert offline["syntax_valid"] == {"syntax_valid": 0.5}
    assert offline["chrf"] == pytest.approx(chr_f.corpus(["x = f(1)", "y"], ["x = f(2)", ""]))
    published = code_bleu.corpus(["x = f(1)", "y"], ["x = f(2)", ""])
    assert {name: offline["codebleu"][name] for name in published} == pytest.approx(published)
    assert not offline["left behind"]


def test_evaluate_loads_them_by_path_too(offline):
    for name in ("codebleu", "chrf", "syntax_valid", "em"):
        assert offline[f"by path {name}"] == offline[name]


def test_a_k_beyond_the_answers_is_refused_where_it_was_asked_for(offline):
    assert offline["refusal"].startswith("k must be at most the number of answers; got k 3 where an example has 2")
