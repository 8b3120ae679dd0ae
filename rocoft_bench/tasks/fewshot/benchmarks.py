"""The tasks of Tables 4, 5 and 13: prompt, label words, lengths and rows of each, as one table.

Prompts and words are those of LM-BFF (Gao et al. 2021, princeton-nlp/LM-BFF), which Malladi et al. 2023 (princeton-nlp/
LM-Kernel-FT) took over. Worked example, sst-2: the row "a gripping film ." with label 1 becomes the tokens of

    <s> a gripping film . | It was <mask> . </s>

(the bar shows that both sides are tokenised apart), and the logits of " terrible" and " great" at the mask are the
outputs of classes 0 and 1.

Hub ids were read in public code; those without a commit are taken as they are on the day, and a run says so.
"""

from typing import Any

from rocoft_bench.tasks.data import NOT_PINNED
from rocoft_bench.tasks.fewshot.few_shot_task import FewShotSource, FewShotTask
from rocoft_bench.tasks.fewshot.prompts import CLS, FIRST, FIRST_AFTER_BLANK, FIRST_WITHOUT_END, MASK, SECOND, SEP

_SINGLE = ("text",)
_PAIR = ("text_a", "text_b")
_WAS = (CLS, FIRST, " It was", MASK, ".", SEP)
_INFERENCE = (CLS, FIRST_WITHOUT_END, "?", MASK, ",", SECOND, SEP)
_SAME = (CLS, FIRST, MASK, ",", SECOND, SEP)
_SENTIMENT = ("terrible", "great")
_FIVE_STARS = ("terrible", "bad", "okay", "good", "great")
_QUESTIONS = ("Description", "Entity", "Expression", "Human", "Location", "Number")
_QUESTION_CODES = ("DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM")
_GLUE = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"


def _glue(name: str, *columns: str, test_split: str = "validation") -> dict[str, Any]:
    """Rows of GLUE; of more than 1,000 test rows those after a shuffle are used."""
    own = _SINGLE if len(columns) == 1 else _PAIR
    renamed = dict(zip(own, columns, strict=True))
    return {"hub": FewShotSource("nyu-mll/glue", name, _GLUE, renamed, test_split), "text_columns": own}


def _other(id: str, columns: dict[str, str] | None = None, classes: tuple[str, ...] = ()) -> dict[str, Any]:
    """Rows of one text elsewhere; of more than 1,000 test rows pandas samples."""
    source = FewShotSource(id, None, NOT_PINNED, columns or {}, classes=classes)
    return {"hub": source, "text_columns": _SINGLE, "test_by": "sample"}


_SNLI = FewShotSource(
    "stanfordnlp/snli", None, NOT_PINNED, {"text_a": "premise", "text_b": "hypothesis"}, drops_unlabelled=True
)
_SUBJ = _other("SetFit/subj", {"label": "label_text"}, ("subjective", "objective"))
_TREC = _other("SetFit/TREC-QC", {"label": "label_coarse_original"}, _QUESTION_CODES)


def _task(
    name: str, pieces: tuple[str, ...], words: tuple[str, ...], max_length: int, first_limit: int | None, **facts: Any
) -> FewShotTask:
    return FewShotTask(
        name=name,
        pieces=pieces,
        label_names=words,
        max_length=max_length,
        first_limit=first_limit,
        random_baseline=1 / len(words),
        **{"metric_names": ("accuracy",), **facts},
    )


_WITH_F1 = {"metric_names": ("accuracy", "f1")}

TASKS: tuple[FewShotTask, ...] = (
    _task("sst-2", _WAS, _SENTIMENT, 128, None, **_glue("sst2", "sentence")),
    _task("sst-5", _WAS, _FIVE_STARS, 128, None, **_other("SetFit/sst5")),
    _task("mr", _WAS, _SENTIMENT, 128, 110, **_other("cornell-movie-review-data/rotten_tomatoes")),
    _task("cr", _WAS, _SENTIMENT, 128, 110, **_other("SetFit/CR")),
    _task("mpqa", _WAS, _SENTIMENT, 128, 110, **_other("jxm/mpqa", {"text": "sentence"})),
    _task("subj", (CLS, FIRST, " This is", MASK, ".", SEP), ("subjective", "objective"), 128, 110, **_SUBJ),
    _task("trec", (CLS, MASK, ":", FIRST_AFTER_BLANK, SEP), _QUESTIONS, 128, 110, **_TREC),
    _task(
        *("mnli", _INFERENCE, ("Yes", "Maybe", "No"), 256, 240),
        **_glue("mnli", "premise", "hypothesis", test_split="validation_matched"),
    ),
    _task("snli", _INFERENCE, ("Yes", "Maybe", "No"), 256, None, hub=_SNLI, text_columns=_PAIR),
    _task("qnli", _INFERENCE, ("Yes", "No"), 128, None, **_glue("qnli", "question", "sentence")),
    _task("rte", _INFERENCE, ("Yes", "No"), 256, 240, **_glue("rte", "sentence1", "sentence2")),
    _task("mrpc", _SAME, ("No", "Yes"), 128, None, **_glue("mrpc", "sentence1", "sentence2"), **_WITH_F1),
    _task("qqp", _SAME, ("No", "Yes"), 128, None, **_glue("qqp", "question1", "question2"), **_WITH_F1),
    _task(
        *("demo", _INFERENCE, ("is", "was"), 128, None),
        hub=None,
        made_by=("entailment", "entailment_rows"),
        text_columns=("sentence1", "sentence2"),
    ),
)
"""The paper's thirteen, and the package's own sentence pairs, whose words the embedded model knows."""
