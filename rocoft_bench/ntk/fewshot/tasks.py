"""The tasks of Tables 4, 5 and 13: prompt, label words, lengths and rows of each, as one table.

Prompts and words are those of LM-BFF (Gao et al. 2021, princeton-nlp/LM-BFF), which Malladi et al. 2023 (princeton-nlp/
LM-Kernel-FT) took over. Worked example, sst-2: the row "a gripping film ." with label 1 becomes the tokens of

    <s> a gripping film . | It was <mask> . </s>

(the bar shows that both sides are tokenised apart), and the logits of " terrible" and " great" at the mask are the
outputs of classes 0 and 1.

Hub ids were read in public code; those without a commit are taken as they are on the day, and a run says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rocoft_bench.errors import UserError, suggest
from rocoft_bench.tasks import HubDataset

CLS, MASK, SEP = "<cls>", "<mask>", "<sep>"
FIRST = "{S1}"
FIRST_WITHOUT_END = "{S1 without its last character}"
FIRST_AFTER_BLANK = "{ S1}"
SECOND = "{ S2 with a lower-case first letter}"
"""Pieces of a template that are no text."""

_SINGLE = ("text",)
_PAIR = ("text_a", "text_b")
_WAS = (CLS, FIRST, " It was", MASK, ".", SEP)
_INFERENCE = (CLS, FIRST_WITHOUT_END, "?", MASK, ",", SECOND, SEP)
_SAME = (CLS, FIRST, MASK, ",", SECOND, SEP)
_SENTIMENT = ("terrible", "great")
_NOT_PINNED = "main"
_GLUE = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"


@dataclass(frozen=True)
class Hub:
    """Where a task's rows are on the hub.

    columns: its names for ours. classes: what its label column holds, in the order of our label codes, where that
    differs. drops_unlabelled: leave out rows with label -1.
    """

    dataset: HubDataset
    columns: Mapping[str, str]
    test_split: str = "test"
    classes: tuple[int | str, ...] = ()
    drops_unlabelled: bool = False


@dataclass(frozen=True)
class FewShotTask:
    """One task. words: of the labels, by label code, without their leading blank; each is one token.

    max_length: tokens of a prompt; first_limit: of its first sentence. test_by: how more than 1,000 test rows are cut,
    "shuffle" or "sample". has_f1: scored by F1 of class 1 too. embedded: rows that come with the package; its module
    and function.
    """

    name: str
    template: tuple[str, ...]
    words: tuple[str, ...]
    columns: tuple[str, ...] = _SINGLE
    max_length: int = 128
    first_limit: int | None = None
    test_by: str = "shuffle"
    has_f1: bool = False
    hub: Hub | None = None
    embedded: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def text(self) -> str:
        """The template as one line."""
        return "".join(f"[{piece}]" if piece[0] not in "<{" else piece for piece in self.template)

    def with_choices(
        self, words: Sequence[str] | None = None, max_length: int | None = None, first_limit: int | None = None
    ) -> FewShotTask:
        """With other label words and lengths, where they are given.

        Raises:
            UserError: If there is not one word for each class.
        """
        if words and len(words) != len(self.words):
            raise UserError(f"--label-words: {self.name} has {len(self.words)} classes, not {len(words)}")
        return replace(
            self,
            words=tuple(words or self.words),
            max_length=max_length or self.max_length,
            first_limit=first_limit or self.first_limit,
        )


def _glue(name: str, columns: tuple[str, ...], test_split: str = "validation") -> Hub:
    own = _SINGLE if len(columns) == 1 else _PAIR
    return Hub(HubDataset("nyu-mll/glue", name, _GLUE), dict(zip(own, columns, strict=True)), test_split)


def _hub(id: str, columns: Mapping[str, str], classes: tuple[int | str, ...] = (), drops: bool = False) -> Hub:
    return Hub(HubDataset(id, None, _NOT_PINNED), columns, classes=classes, drops_unlabelled=drops)


_TEXT = {"text": "text"}


def _reviews(name: str, hub: Hub) -> FewShotTask:
    return FewShotTask(name, _WAS, _SENTIMENT, first_limit=110, test_by="sample", hub=hub)


TASKS: dict[str, FewShotTask] = {
    task.name: task
    for task in (
        FewShotTask("sst-2", _WAS, _SENTIMENT, hub=_glue("sst2", ("sentence",))),
        FewShotTask(
            "sst-5",
            _WAS,
            ("terrible", "bad", "okay", "good", "great"),
            test_by="sample",
            hub=_hub("SetFit/sst5", _TEXT),
        ),
        _reviews("mr", _hub("cornell-movie-review-data/rotten_tomatoes", _TEXT)),
        _reviews("cr", _hub("SetFit/CR", _TEXT)),
        _reviews("mpqa", _hub("jxm/mpqa", {"text": "sentence"})),
        FewShotTask(
            "subj",
            (CLS, FIRST, " This is", MASK, ".", SEP),
            ("subjective", "objective"),
            first_limit=110,
            test_by="sample",
            hub=_hub("SetFit/subj", {"text": "text", "label": "label_text"}, ("subjective", "objective")),
        ),
        FewShotTask(
            "trec",
            (CLS, MASK, ":", FIRST_AFTER_BLANK, SEP),
            ("Description", "Entity", "Expression", "Human", "Location", "Number"),
            first_limit=110,
            test_by="sample",
            hub=_hub(
                "SetFit/TREC-QC",
                {"text": "text", "label": "label_coarse_original"},
                ("DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM"),
            ),
        ),
        FewShotTask(
            "mnli",
            _INFERENCE,
            ("Yes", "Maybe", "No"),
            _PAIR,
            256,
            240,
            hub=_glue("mnli", ("premise", "hypothesis"), "validation_matched"),
        ),
        FewShotTask(
            "snli",
            _INFERENCE,
            ("Yes", "Maybe", "No"),
            _PAIR,
            256,
            hub=_hub("stanfordnlp/snli", {"text_a": "premise", "text_b": "hypothesis"}, drops=True),
        ),
        FewShotTask("qnli", _INFERENCE, ("Yes", "No"), _PAIR, hub=_glue("qnli", ("question", "sentence"))),
        FewShotTask("rte", _INFERENCE, ("Yes", "No"), _PAIR, 256, 240, hub=_glue("rte", ("sentence1", "sentence2"))),
        FewShotTask("mrpc", _SAME, ("No", "Yes"), _PAIR, has_f1=True, hub=_glue("mrpc", ("sentence1", "sentence2"))),
        FewShotTask("qqp", _SAME, ("No", "Yes"), _PAIR, has_f1=True, hub=_glue("qqp", ("question1", "question2"))),
        FewShotTask(
            "demo",
            _INFERENCE,
            ("is", "was"),
            _PAIR,
            embedded={"text_a": "sentence1", "text_b": "sentence2", "label": "label"},
        ),
    )
}
"""By name; the paper's thirteen, and the package's own sentence pairs, whose words the embedded model knows."""


def get(name: str) -> FewShotTask:
    """The few-shot task of that name.

    Raises:
        UserError: If there is none, with the names that there are.
    """
    if name not in TASKS:
        raise UserError(f'--task: unknown few-shot task "{name}"; {suggest(name, TASKS)}')
    return TASKS[name]
