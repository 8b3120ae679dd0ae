"""SQuAD's metrics against scorers written from the definitions, and at the places where v1.1 and v2.0 differ."""

import json
import os
import random
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rocoft_bench.metrics import compute
from rocoft_bench.metrics.formulas import normalized, token_f1

ANSWERS = [
    "",
    "The",
    "a an",
    "...",
    "the Duke",
    "Duke",
    "A duke!",
    "duke duke of York",
    "Zoë\u2019s café",
    "ZOË'S CAFÉ",
    "$7.50",
]


def reference_words(answer: str) -> list[str]:
    """The words of an answer, letter by letter and word by word, without a regular expression."""
    kept = "".join(letter for letter in answer.lower() if letter not in string.punctuation)
    parts, word = [], ""
    for letter in kept + " ":
        if letter.isalnum() or letter == "_":
            word += letter
        else:
            parts += [word if word not in ("a", "an", "the") else " ", letter]
            word = ""
    return "".join(parts).split()


def reference_f1(prediction: list[str], gold: list[str], version: str) -> float:
    if version == "squad_v2" and not (prediction and gold):
        return float(prediction == gold)
    left, same = list(gold), 0
    for word in prediction:
        if word in left:
            left.remove(word)
            same += 1
    if not same:
        return 0.0
    precision, recall = same / len(prediction), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def reference_scores(predictions: list[str], references: list[list[str]], version: str) -> dict[str, float]:
    """As the official scripts define it, in another form: one row at a time, all scores in one table."""
    table = []
    for prediction, golds in zip(predictions, references, strict=True):
        wanted = golds
        if version == "squad_v2":
            wanted = [gold for gold in golds if reference_words(gold)] or [""]
        words = reference_words(prediction)
        exact = max(words == reference_words(gold) for gold in wanted)
        f1 = max(reference_f1(words, reference_words(gold), version) for gold in wanted)
        table.append((bool(golds), 100.0 * exact, 100.0 * f1))
    groups = {"": table}
    if version == "squad_v2" and not all(row[0] for row in table):
        groups |= {"HasAns_": [row for row in table if row[0]], "NoAns_": [row for row in table if not row[0]]}
    return {
        f"{group}{name}": sum(row[column] for row in rows) / len(rows) / 100
        for group, rows in groups.items()
        if rows
        for column, name in ((1, "exact_match"), (2, "f1"))
    }


def adversaries(golds: list[str], context: str, rng: random.Random) -> list[str]:
    """Predictions near and far from a row's answers."""
    start = rng.randrange(len(context))
    gold = rng.choice(golds) if golds else context[:20]
    words = gold.split() or [gold]
    changed = [gold.upper(), f"  the {gold}. ", f"“{gold}”", " ".join(words[:-1]), " ".join(words * 2), gold + " and"]
    return ["", "the", "?!", context[start : start + rng.randrange(1, 80)], gold, *changed]


@pytest.mark.parametrize("version", ["squad", "squad_v2"])
@pytest.mark.parametrize("seed", range(20))
def test_scores_equal_the_definition(version: str, seed: int) -> None:
    rng = random.Random(seed)
    fewest = 1 if version == "squad" else 0
    golds = [rng.choices(ANSWERS, k=rng.randint(fewest, 4)) for _ in range(50)]
    predictions = rng.choices(ANSWERS, k=50)
    expected = reference_scores(predictions, golds, version)
    assert compute([version], predictions, golds) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from([*"aà_-\u2019.\u00a0\u3000日1", "the", "An", " "]) | st.text(max_size=3)).map("".join))
def test_answers_are_normalised_as_defined(answer: str) -> None:
    assert normalized(answer).split() == reference_words(answer)


def test_the_best_of_several_gold_answers_counts() -> None:
    golds = ["in 1999", "nineteen ninety-nine", "1999"]
    assert compute(["squad"], ["1999."], [golds]) == {"exact_match": 1.0, "f1": 1.0}
    assert compute(["squad"], ["late 1999"], [golds])["f1"] == pytest.approx(2 / 3)


def test_words_count_as_often_as_they_occur() -> None:
    assert token_f1(["to", "be", "or", "not", "to", "be"], ["to", "be"]) == pytest.approx(0.5)
    assert token_f1(["to"], ["to", "to", "to"]) == pytest.approx(0.5)


def test_an_article_inside_a_word_stays() -> None:
    assert normalized("An anthem, the Theatre; a.m.") == "anthem theatre am"


def test_nothing_left_of_both_answers() -> None:
    assert compute(["squad"], ["the"], [["A", "x"]]) == {"exact_match": 1.0, "f1": 0.0}
    assert compute(["squad_v2"], ["the"], [["A", "x"]]) == {"exact_match": 0.0, "f1": 0.0}
    assert compute(["squad_v2"], ["the"], [["A"]]) == {"exact_match": 1.0, "f1": 1.0}


def test_rows_with_and_without_an_answer_are_also_scored_apart() -> None:
    predictions, golds = ["", "Lumo", "fog", "of fog"], [[], [], ["fog"], ["fog"]]
    assert compute(["squad_v2"], predictions, golds) == pytest.approx(
        {
            "exact_match": 0.5,
            "f1": (1 + 0 + 1 + 2 / 3) / 4,
            "HasAns_exact_match": 0.5,
            "HasAns_f1": 5 / 6,
            "NoAns_exact_match": 0.5,
            "NoAns_f1": 0.5,
        }
    )


def test_groups_without_rows_are_left_out() -> None:
    assert list(compute(["squad_v2"], ["fog"], [["fog"]])) == ["exact_match", "f1"]
    assert list(compute(["squad_v2"], ["fog"], [[]])) == ["exact_match", "f1", "NoAns_exact_match", "NoAns_f1"]


DATA_DIR = Path(os.environ.get("ROCOFT_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data")


@pytest.mark.skipif(
    not (DATA_DIR / "squad").is_dir(),
    reason=f"no SQuAD rows in {DATA_DIR}; set ROCOFT_DATA_DIR to the folder above squad/",
)
@pytest.mark.parametrize(("version", "name"), [("squad", "v1.1"), ("squad_v2", "v2.0")])
def test_scores_equal_the_definition_on_real_rows(version: str, name: str) -> None:
    lines = (DATA_DIR / "squad" / name / "validation.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    assert len(rows) >= 200
    rng = random.Random(0)
    golds = [row["answers"]["text"] for row in rows]
    choices = [adversaries(gold, row["context"], rng) for gold, row in zip(golds, rows, strict=True)]
    for predictions in zip(*choices, strict=True):
        expected = reference_scores(list(predictions), golds, version)
        assert compute([version], predictions, golds) == pytest.approx(expected, abs=1e-12)
