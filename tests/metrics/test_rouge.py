"""ROUGE: as the package rouge-score has it, with our own splitter in front."""

import pytest

from rocoft_bench.metrics import compute
from rocoft_bench.metrics.formulas import one_sentence_a_line

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


# Other scripts

EQUAL = {
    "Chinese": "北京 今天 下雨。",
    "Japanese": "東京は今日、雨です。ラーメン",
    "Russian": "Туман остановил паром. Никто не уехал.",
    "Greek": "Η ομίχλη σταμάτησε το πλοίο.",
    "Arabic": "أوقف الضباب العبارة.",
    "Hindi": "कोहरे ने नाव को रोक दिया।",
    "Thai": "หมอกหยุดเรือข้ามฟาก",
    "Korean": "안개가 배를 멈췄다.",
    "mixed": "2024年, IBM 在北京 的 会议",
}


@pytest.mark.parametrize("text", EQUAL.values(), ids=EQUAL)
def test_equal_texts_score_1_in_every_script(text: str) -> None:
    assert compute(["rouge"], [text], [text]) == dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), 1.0)
    assert compute(["rouge"], ["Fog stopped a ferry."], [text])["rouge1"] == 0.0


def test_texts_that_share_their_digits_only_are_not_equal() -> None:
    scores = compute(["rouge"], ["上海 2024 晴"], ["北京 2024 雨"])
    assert scores["rouge1"] == pytest.approx(1 / 4)


def test_words_are_parted_as_the_script_does() -> None:
    assert compute(["rouge"], ["Паром стоит"], ["ПАРОМ ушёл"])["rouge1"] == 0.5
    assert compute(["rouge"], ["北京下雨"], ["北京晴天"])["rouge1"] == 0.5
    assert compute(["rouge"], ["北京下雨"], ["北京晴天"])["rouge2"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("Le café était fermé à Orléans.", "Le café d'Orléans est fermé."),
        ("The ferry to Владивосток was late.", "The ferry to Владивосток (Vladivostok) was on time."),
        ("東京", "The ferry to Tokyo (東京) was late."),
        ("42", "42"),
        ("…", "…"),
    ],
)
def test_texts_that_are_mostly_latin_score_as_in_rouge_score(prediction: str, reference: str) -> None:
    test_rouge_is_that_of_rouge_score(prediction, reference)
