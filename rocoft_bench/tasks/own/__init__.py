"""Tasks on the user's own examples: a file, or a dataset of the hub, whose columns the settings name.

    family          the model learns                     columns (text, text pair, label)     scored by
    classification  one of the labels that there are     text, -, label                       accuracy, macro-F1
    regression      a number                             text, -, label                       Pearson, Spearman
    questions       the span of a passage, as in SQuAD   question, context, answers           exact match, F1
    seq2seq         a text, by an encoder-decoder        source, -, target                    ROUGE
    instruct        a response, by a causal model        instruction, input, output; or       ROUGE
                                                         messages

Each is the adapter of a benchmark's kind (`tasks.sequence`, `.spans`, …) that finds its examples in another way
(`own.user_rows`). A task is called as its file unless it is given a name.

Worked example: reviews.csv with the lines "review,stars", "Great tea!,5", "Cold.,1" and the settings family
classification, train_file reviews.csv, text_column review, label_column stars make the task "reviews" with the labels
"1" and "5": the second row is the text "Cold." with label code 0.
"""

from collections.abc import Mapping
from typing import Any

from rocoft_bench.tasks.own.instruct import Instruct
from rocoft_bench.tasks.own.kinds import Classification, Questions, Regression, Seq2Seq
from rocoft_bench.tasks.own.user_rows import EVALUATION, OwnTask

_KINDS: tuple[Any, ...] = (Classification, Regression, Questions, Seq2Seq, Instruct)

FAMILIES: Mapping[str, OwnTask] = {kind.family: kind(name=kind.family, eval_split=EVALUATION) for kind in _KINDS}
"""A task without settings for each family."""
