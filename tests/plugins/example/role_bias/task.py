"""A task: is a review favourable? Its rows lie in DATA_DIR/reviews/films/SPLIT.jsonl."""

from rocoft_bench.tasks import TASKS
from rocoft_bench.tasks.sequence import SequenceClassification

REVIEWS = TASKS.add(
    SequenceClassification(
        family="reviews",
        name="films",
        version=1,
        hub=None,
        train_split="train",
        eval_split="validation",
        text_columns=("sentence",),
        label_names=("bad", "good"),
        metric_names=("accuracy",),
        random_baseline=0.5,
        paper_task=None,
    )
)
