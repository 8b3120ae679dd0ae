"""ROUGE: as the package rouge-score has it, with our own splitter in front."""

import pytest

from rocoft_bench.metrics import compute
from rocoft_bench.metrics.row_scores import one_sentence_a_line

PAIRS = [
    ("Fog has stopped a ferry.", "Fog has stopped the ferry to Lumo."),
    ("The mayor sold the bridges. Nobody bought them!", "Nobody was buying bridges .\nThe mayor sold one ."),
    ("", "An answer was expected."),
    ("He won. He won. He won.", "He won."),
    ("Completely different words", "nothing alike here at all"),
    ("“Yes,” said Dr. Ito. “No,” said the U.S. envoy.", "Dr. Ito and the envoy of the U.S. disagreed."),
]


def test_the_worked_example() -> None:
    scores = compute(["rouge"], *map(list, zip(PAIRS[0], strict=True)))
    assert scores == pytest.approx({"rouge1": 2 / 3, "rouge2": 0.4, "rougeL": 2 / 3, "rougeLsum": 2 / 3})
    assert list(scores) == ["rouge1", "rouge2", "rougeL", "rougeLsum"]


@pytest.mark.parametrize(("prediction", "reference"), PAIRS)
def test_rouge_is_that_of_rouge_score(prediction: str, reference: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    plain = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True).score(reference, prediction)
    summary = RougeScorer(["rougeLsum"], use_stemmer=True).score(*map(one_sentence_a_line, (reference, prediction)))
    expected = {name: score.fmeasure for name, score in {**plain, **summary}.items()}
    assert compute(["rouge"], [prediction], [reference]) == expected


def test_the_score_of_several_is_their_mean() -> None:
    predictions, references = map(list, zip(*PAIRS, strict=True))
    each = [compute(["rouge"], [p], [r])["rouge2"] for p, r in PAIRS]
    assert compute(["rouge"], predictions, references)["rouge2"] == pytest.approx(sum(each) / len(each))


def test_only_rouge_lsum_sees_the_order_of_sentences() -> None:
    scores = compute(["rouge"], ["Cats sleep. Dogs run."], ["Dogs run. Cats sleep."])
    assert scores["rougeLsum"] == 1.0
    assert scores["rougeL"] == 0.5


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("One. Two! Three? 4.", ["One.", "Two!", "Three?", "4."]),
        ("One .\nTwo . Three .", ["One .", "Two .", "Three ."]),
        (
            'He said: "Go." "Where?" (Nobody knew.) Then he left.',
            ['He said: "Go."', '"Where?"', "(Nobody knew.)", "Then he left."],
        ),
        ("Mr. A. Bell of the U.S. Navy came at 5 p.m. Sharp.", ["Mr. A. Bell of the U.S. Navy came at 5 p.m. Sharp."]),
        ("It cost 3.5 m. euros.", ["It cost 3.5 m. euros."]),
        ("", [""]),
    ],
)
def test_sentences(text: str, lines: list[str]) -> None:
    assert one_sentence_a_line(text).split("\n") == lines
