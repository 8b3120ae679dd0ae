"""SQuAD: the passage of a Wikipedia paragraph that answers a question (Table 7 of the RoCoFT paper).

    task  hub dataset                    train rows  evaluated on  of these without an answer
    v1.1  rajpurkar/squad, plain_text        87,599        10,570                           0
    v2.0  rajpurkar/squad_v2, squad_v2      130,319        11,873                       5,945

Each is pinned to the commit below and evaluated on its validation split (the test sets are not public). Columns:
question, context, and answers, {"text": [...], "answer_start": [...]}, where a start counts characters of the context
from 0. Examples are trained on their first answer; validation examples mostly have several. In v2.0 both lists are
empty where the paragraph does not answer the question.

Metrics are those of SQuAD's own scripts (`rocoft_bench.metrics.text_metrics`): exact_match, which ranks runs, and f1.
A task with questions without an answer also reports them for the examples with and without one. A random span scores
next to nothing, so `random_baseline` is 0; giving no answer to any question of v2.0 scores 50.1 %.

Worked example (an invented row of v1.1): question "What stopped the ferry?", context "The ferry to Lumo was cancelled
because of fog.", answers {"text": ["fog"], "answer_start": [43]}. For BERT `encode` gives the tokens of "[CLS] what
stopped the ferry? [SEP] the ferry to lu ##mo was cancelled because of fog. [SEP]", with start_positions and
end_positions at "fog". If start and end logits are highest at "of" and at "fog", the prediction is "of fog", and
`score` gives {"exact_match": 0.0, "f1": 0.667}.
"""

from rocoft_bench.tasks.data import HubDataset
from rocoft_bench.tasks.spans import SpanExtraction
from rocoft_bench.tasks.task import Task

TASKS: tuple[Task, ...] = (
    SpanExtraction(
        name="v1.1",
        family="squad",
        hub=HubDataset("rajpurkar/squad", "plain_text", "7b6d24c440a36b6815f21b70d25016731768db1f"),
        eval_split="validation",
        split_sizes={"train": 87599, "validation": 10570},
        paper_task="squad_v1",
    ),
    SpanExtraction(
        name="v2.0",
        family="squad",
        hub=HubDataset("rajpurkar/squad_v2", "squad_v2", "3ffb306f725f7d2ce8394bc1873b24868140c412"),
        eval_split="validation",
        split_sizes={"train": 130319, "validation": 11873},
        paper_task="squad_v2",
        has_unanswerable=True,
    ),
)
