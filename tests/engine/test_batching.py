from __future__ import annotations

from types import SimpleNamespace

from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from rocoft_bench.engine.batching import length_grouped_batches, lengths_of, longest_first_batches, padding_collate

LENGTHS = st.lists(st.integers(1, 100), min_size=1, max_size=300)


@given(LENGTHS, st.integers(1, 40), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_holds_every_row_once_in_full_batches(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    batches = length_grouped_batches(lengths, size, seed, epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert sum(len(batch) == size for batch in batches) == len(lengths) // size
    assert batches == length_grouped_batches(lengths, size, seed, epoch)


@given(LENGTHS, st.integers(1, 40))
def test_evaluation_goes_from_long_to_short(lengths: list[int], size: int) -> None:
    order = [row for batch in longest_first_batches(lengths, size) for row in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[row] for row in order] == sorted(lengths, reverse=True)


def test_grouping_saves_most_of_the_padding() -> None:
    lengths = [(7 * i) % 97 + 1 for i in range(1000)]

    def padded(batches: list[list[int]]) -> int:
        return sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)

    plain = [list(range(i, min(i + 8, 1000))) for i in range(0, 1000, 8)]
    grouped = length_grouped_batches(lengths, 8, seed=0, epoch=0)
    assert padded(grouped) < 1.1 * sum(lengths) < padded(plain)


def test_epochs_and_seeds_differ() -> None:
    lengths = list(range(1, 200))
    plans = [length_grouped_batches(lengths, 8, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(a != b for i, a in enumerate(plans) for b in plans[i + 1 :])


def test_a_batch_is_padded_to_its_longest_example_at_either_side() -> None:
    tokenizer = SimpleNamespace(pad_token_id=9, pad_token_type_id=3)
    rows = [
        {"input_ids": [5, 6, 7], "token_type_ids": [0, 1, 1], "labels": [-100, 6, 7], "choice": "left out"},
        {"input_ids": [8], "token_type_ids": [0], "labels": [8], "choice": "left out"},
    ]
    right = {name: values.tolist() for name, values in padding_collate(tokenizer)(rows).items()}
    assert right == {
        "input_ids": [[5, 6, 7], [8, 9, 9]],
        "token_type_ids": [[0, 1, 1], [0, 3, 3]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "labels": [[-100, 6, 7], [8, -100, -100]],
    }
    left = padding_collate(tokenizer, "left")([{"input_ids": [5, 6, 7], "labels": 1}, {"input_ids": [8], "labels": 0}])
    assert left["input_ids"].tolist() == [[5, 6, 7], [9, 9, 8]]
    assert left["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert left["labels"].tolist() == [1, 0]
    targets = [{"input_ids": [5, 6, 7], "labels": [1]}, {"input_ids": [8], "labels": [2, 3]}]
    assert padding_collate(tokenizer)(targets)["labels"].tolist() == [[1, -100], [2, 3]]


def test_lengths_are_those_of_the_chosen_rows() -> None:
    examples = Dataset.from_dict({"input_ids": [[1], [2, 2], []], "labels": [[1, 1, 1], [], [1]]})
    assert lengths_of(examples) == [1, 2, 0]
    assert lengths_of(examples.select([2, 1]), "labels") == [1, 0]
