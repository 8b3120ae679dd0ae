"""Asking a model for its answers: class logits, span logits, generated text, or likelihoods of given texts."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import Tensor
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader

from rocoft_bench.engine.batching import NO_LABEL, Batch, Collate, lengths_of, longest_first_batches, padding_collate
from rocoft_bench.engine.failure import NotFiniteError
from rocoft_bench.engine.interrupt import GracefulStop, Interrupted
from rocoft_bench.engine.observer import Observer
from rocoft_bench.engine.processes import Processes
from rocoft_bench.engine.sharding import is_sharded
from rocoft_bench.tuner import standing_values


class Predictor(ABC):
    """What is asked of the model, batch by batch."""

    padding_side = "right"

    def __init__(self, tokenizer: Any, generation: dict[str, Any] | None = None) -> None:
        self.generation = generation or {}
        self.tokenizer = tokenizer
        self.collate: Collate = padding_collate(tokenizer, self.padding_side)

    @abstractmethod
    def __call__(self, model: Any, batch: Batch) -> list[np.ndarray]:
        """One array for each example of the batch."""


class Logits(Predictor):
    """Class logits, (num_labels,) an example."""

    def __call__(self, model: Any, batch: Batch) -> list[np.ndarray]:
        return list(_finite(model(**batch).logits))


class Spans(Predictor):
    """Start and end logits, (2, tokens of the example) an example."""

    def __call__(self, model: Any, batch: Batch) -> list[np.ndarray]:
        outputs = model(**batch)
        logits = _finite(torch.stack([outputs.start_logits, outputs.end_logits], dim=1))  # (examples, 2, longest)
        return [each[:, :length] for each, length in zip(logits, batch["attention_mask"].sum(1).tolist(), strict=True)]


class EncoderText(Predictor):
    """Token ids that an encoder-decoder generates, (new tokens,) an example, up to the end token."""

    def __call__(self, model: Any, batch: Batch) -> list[np.ndarray]:
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        first = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]  # after a start token or prompt
        with _generating(model, self.tokenizer, self.generation) as end:
            # (examples, longest answer); with synced_gpus it lasts as long as another process' examples need it
            generated = model.generate(**inputs, synced_gpus=is_sharded(model))
        return [_until_end(ids, end) for ids in generated[:, first:]]


class DecoderText(EncoderText):
    """The same for a decoder-only model; padded on the left, so that every prompt ends where its answer begins."""

    padding_side = "left"


class Likelihood(Predictor):
    """The summed log-probability of an example's labels, and how many there are: (2,) an example.

    Labelled is the end of an example. A prompt that several have before it, as the choices of a question, is read once.
    """

    def __call__(self, model: Any, batch: Batch) -> list[np.ndarray]:
        labels = batch.pop("labels")
        shared = (labels != NO_LABEL).int().argmax(1, keepdim=True) - 1  # tokens of each prompt but its last
        if shared.min() < 1 or not cuts_logits(model):
            logits, labels = model(**batch).logits[:, :-1], labels[:, 1:]  # each position predicts the next token
        else:
            logits, labels = _after_prompts(model, batch["input_ids"], batch["attention_mask"], labels, shared)
        logits, told = logits.float(), labels != NO_LABEL  # (examples, tokens, vocabulary)
        chosen = logits.gather(2, labels.clamp_min(0).unsqueeze(2)).squeeze(2) - logits.logsumexp(2)
        return list(_finite(torch.stack([(chosen * told).sum(1), told.sum(1)], dim=1)))


def _after_prompts(model: Any, ids: Tensor, mask: Tensor, labels: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the tokens after the first `shared` (examples, 1) ones, which a cache holds, and what they predict."""
    longest = int(shared.max())
    places = torch.arange(longest, device=ids.device) - (longest - shared)  # padded on the left: no gap before the rest
    prompts = ids.gather(1, places.clamp_min(0)).masked_fill(places < 0, -1)
    prompts, which = prompts.unique(dim=0, return_inverse=True)  # (prompts, longest), (examples,)
    shown = (prompts >= 0).long()
    past = _continued(model, prompts.clamp_min(0), shown, use_cache=True, logits_to_keep=1).past_key_values
    past.batch_select_indices(which)
    lengths, last = mask.sum(1, keepdim=True), ids.shape[1] - 1
    places = shared + torch.arange(int((lengths - shared).max()), device=ids.device)  # (examples, tokens after)
    shown = torch.cat([shown[which], (places < lengths).long()], dim=1)
    logits = _continued(model, ids.gather(1, places.clamp_max(last)), shown, past_key_values=past).logits
    return logits, labels.gather(1, (places + 1).clamp_max(last)).masked_fill(places + 1 >= lengths, NO_LABEL)


def _continued(model: Any, ids: Tensor, mask: Tensor, **options: Any) -> Any:
    """A causal model's outputs for the last tokens of a mask. Positions count what it shows."""
    if "position_ids" in inspect.signature(_base_of(model).forward).parameters:
        options["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
    return model(input_ids=ids, attention_mask=mask, **options)


def cuts_logits(model: Any) -> bool:
    """Whether a causal model can leave out the logits of the first tokens (`logits_to_keep`). Not with tokens of an
    adapter's own before them: these are cut off its logits.
    """
    adapter = getattr(model, "active_peft_config", None)
    takes_it = "logits_to_keep" in inspect.signature(_base_of(model).forward).parameters
    return takes_it and not getattr(adapter, "is_prompt_learning", False)


PREDICTORS: dict[tuple[str, str], type[Predictor]] = {
    ("sequence_classification", "logits"): Logits,
    ("masked_lm", "logits"): Logits,
    ("question_answering", "spans"): Spans,
    ("seq2seq_lm", "text"): EncoderText,
    ("causal_lm", "text"): DecoderText,
    ("causal_lm", "likelihood"): Likelihood,
}
"""By the kind of a task and the output that it asks for."""

SPECIAL_TOKENS = (
    *("bos_token_id", "eos_token_id", "pad_token_id"),
    *("decoder_start_token_id", "forced_bos_token_id"),  # the second begins every answer of BART's own evaluation
)
"""All that is taken of a checkpoint's own generation settings. The rest would make "greedy", or a beam search of the
same settings, mean something else for each checkpoint."""

NOT_SETTINGS = (
    *("_from_model_config", "transformers_version", "use_cache"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate"),
)
"""In a generation configuration, but without effect on the answers."""


def own_generation_settings(model: Any) -> list[str]:
    """Notes the generation settings of a checkpoint that could change its answers, and are not used."""
    own = model.generation_config.to_diff_dict()
    names = [name for name in sorted(own) if name not in NOT_SETTINGS and name not in SPECIAL_TOKENS]
    return [f"the checkpoint's own generation settings are not used: {', '.join(names)}"] if names else []


def special_tokens(model: Any, tokenizer: Any) -> dict[str, Any]:
    """The ids of special tokens that answers are generated with: the checkpoint's, else the tokenizer's."""
    own = _base_of(model).generation_config
    tokens = {name: getattr(own, name, None) for name in SPECIAL_TOKENS}
    for name in ("eos_token_id", "pad_token_id"):
        tokens[name] = getattr(tokenizer, name) if tokens[name] is None else tokens[name]
    return tokens


def _base_of(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def _generating(model: Any, tokenizer: Any, settings: dict[str, Any]) -> Iterator[int | list[int] | None]:
    """Inside, `generate` goes by these settings and the special tokens of the checkpoint, else of the tokenizer, alone.

    What is given to `generate` itself would be completed from the checkpoint's. Yields the end token or tokens.
    """
    from transformers import GenerationConfig

    inner = _base_of(model)
    before = inner.generation_config
    tokens = special_tokens(model, tokenizer)
    inner.generation_config = GenerationConfig(do_sample=False, **tokens, **settings)
    try:
        yield tokens["eos_token_id"]
    finally:
        inner.generation_config = before


@dataclass(frozen=True)
class Evaluation:
    """Metrics, the main one first, and one prediction an example as it is written to the run's folder.

    Of several processes, only the main one has the predictions.
    """

    metrics: dict[str, float]
    predictions: list[dict[str, Any]]


@dataclass(frozen=True)
class Evaluator:
    """Asks a model for all evaluation examples, in the accelerator's precision: `generate` would go round the autocast
    that accelerate puts into a prepared model's forward.

    examples: encoded; can be indexed by number. score: from the outputs, in the order of the examples, to the
    evaluation.
    """

    examples: Any
    predictor: Predictor
    score: Callable[[list[np.ndarray]], Evaluation]
    batch_size: int
    accelerator: Accelerator
    observer: Observer
    processes: Processes = field(default_factory=Processes)

    def run(self, model: Any, stop: GracefulStop) -> Evaluation:
        """Evaluate in eval mode, longest examples first. model: as it was before accelerate prepared it.

        Raises:
            NotFiniteError: If an output is NaN or infinite.
            Interrupted: Between two batches, on Ctrl-C, SIGTERM or SIGHUP.
        """
        batches = self._own_batches()
        self.observer.evaluation_started(len(batches))
        model.eval()
        outputs: dict[int, np.ndarray] = {}
        loader = make_loader(self.examples, batches, self.predictor.collate, self.accelerator.device)
        # trained values stand in the weights where that changes no bit of an answer: rows, columns, entries of RoCoFT,
        # and parametrised weights, computed once; a product added to a weight rounds otherwise than one beside it
        with torch.no_grad(), self.accelerator.autocast(), standing_values(model), parametrize.cached():
            for numbers, batch in zip(batches, loader, strict=True):
                if any(self.processes.any(stop.requested)):
                    raise Interrupted
                answers = self.predictor(model, send_to_device(batch, self.accelerator.device, non_blocking=True))
                outputs.update(zip(numbers, answers, strict=True))
                self.observer.evaluation_batch_done()
        return self._scored(outputs)

    def _own_batches(self) -> list[list[int]]:
        """Example numbers of this process' batches. All have equally many, so that they can agree on each: where the
        last round is not full, its first batch is there twice.
        """
        batches, count = longest_first_batches(lengths_of(self.examples), self.batch_size), self.processes.count
        rounds = [batches[start : start + count] for start in range(0, len(batches), count)]
        return [batches_now[self.processes.index % len(batches_now)] for batches_now in rounds]

    def _scored(self, outputs: dict[int, np.ndarray]) -> Evaluation:
        """All processes' outputs, scored by the main one."""
        together = {number: output for part in self.processes.gather(outputs) for number, output in part.items()}
        if self.processes.is_main:
            evaluation = self.score([together[number] for number in range(len(together))])
            self.processes.from_main(evaluation.metrics)
            return evaluation
        return Evaluation(self.processes.from_main(None), [])


def make_loader(examples: Any, batches: Sequence[list[int]], collate: Collate, device: torch.device) -> DataLoader[Any]:
    """Batches of the examples with the given numbers. Making one does not move the global random state."""
    return DataLoader(
        examples,
        batch_sampler=batches,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),
    )


def _finite(values: Tensor) -> np.ndarray:
    array = values.float().cpu().numpy()
    if not np.isfinite(array).all():
        raise NotFiniteError("the model's outputs are not finite")
    return array


def _until_end(ids: Tensor, end: int | list[int] | None) -> np.ndarray:
    """Token ids up to the first that ends an answer; what pads a batch comes after it."""
    array = ids.cpu().numpy()
    ends = np.flatnonzero(np.isin(array, [] if end is None else end))
    return array[: ends[0]] if len(ends) else array
