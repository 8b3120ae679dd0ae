"""What training really gives, beside a kernel's prediction of it (Table 4's rows of fine-tuning): the same prompts,
draws and label words, by a method of the registry in the loop that trains everything else.

As in LM-BFF, whose prompts these are, the loss is the cross-entropy over the label words' logits at the mask.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.modeling_outputs import SequenceClassifierOutput

from rocoft_bench import methods, models
from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.accelerator import make_accelerator
from rocoft_bench.engine.batching import padding_collate
from rocoft_bench.engine.observer import Observer
from rocoft_bench.engine.prediction import Evaluation, Evaluator, Logits
from rocoft_bench.engine.trainer import Trainer
from rocoft_bench.ntk.kernel_files import KernelDirectory
from rocoft_bench.ntk.kernel_inputs import KernelInputs, PromptSet, applied
from rocoft_bench.runs import Kernel, write_json
from rocoft_bench.untrusted import read_json


class LabelWords(nn.Module):
    """A masked language model as a classifier: one class for each label word, by its logit at the mask."""

    def __init__(self, model: nn.Module, words: list[int], mask_token_id: int) -> None:
        super().__init__()
        self.model = model
        self.words = words
        self.mask_token_id = mask_token_id

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """input_ids, attention_mask: (B, T), one mask each; labels: (B,) codes."""
        at_mask = (input_ids == self.mask_token_id).int().argmax(1)
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits  # (B, T, vocabulary)
        chosen = logits[torch.arange(len(logits), device=logits.device), at_mask][:, self.words]
        loss = None if labels is None else cross_entropy(chosen, labels)
        return SequenceClassifierOutput(loss=loss, logits=chosen)


def fine_tuned(inputs: KernelInputs, seed: int, directory: KernelDirectory) -> Kernel:
    """Fine-tune the model on a draw and predict the test rows; what an interrupted analysis has done is read.

    Raises:
        NotFiniteError: If the loss becomes NaN or infinite.
        Interrupted: After a checkpoint.
    """
    stored = directory.work / "fine-tuned.json"
    if stored.is_file():
        return Kernel.model_validate(read_json(stored))
    trainer = _trainer(inputs, seed, directory)
    metrics = trainer.run().evaluation.metrics
    trained = sum(p.numel() for p in trainer.bare_model.parameters() if p.requires_grad)
    found = Kernel.model_validate({**metrics, "parameters": trained})
    write_json(stored, found.model_dump(mode="json"))
    return found


def _trainer(inputs: KernelInputs, seed: int, directory: KernelDirectory) -> Trainer:
    s, train = inputs.settings, inputs.train[seed]
    assert s.fine_tuning is not None
    source = models.locate(s.model)
    model, tokenizer, _ = models.load(source, s.model, models.MASKED_LM, {})
    method = methods.resolve(s.method or {"name": "full"}, None, "causal_lm", s.model.name)
    model = applied(method, model, s.model.name, seed)
    settings = TrainingConfig(
        learning_rate=s.fine_tuning.learning_rate or method.learning_rate,
        weight_decay=method.weight_decay,
        epochs=math.ceil(s.fine_tuning.steps / math.ceil(len(train.examples) / s.fine_tuning.batch_size)),
        batch_size=s.fine_tuning.batch_size,
        lr_scheduler="linear",
        evaluate="end",
    )
    accelerator = make_accelerator("fp32")
    workdir = directory.work / "fine-tuning"
    workdir.mkdir(exist_ok=True)

    def score(outputs: list[np.ndarray]) -> Evaluation:
        return Evaluation(inputs.metrics(np.stack(outputs)), [])

    return Trainer(
        model=LabelWords(model, inputs.prompter.word_ids(), tokenizer.mask_token_id),
        examples=_examples(train, with_labels=True),
        collate=padding_collate(tokenizer),
        evaluator=Evaluator(
            _examples(inputs.test), Logits(tokenizer), score, settings.eval_batch_size, accelerator, Observer()
        ),
        settings=settings,
        seed=seed,
        accelerator=accelerator,
        workdir=workdir,
        observer=Observer(),
        make_hooks=lambda total_steps: method.hooks(model, settings, total_steps),
    )


def _examples(prompts: PromptSet, with_labels: bool = False) -> Any:
    from datasets import Dataset

    ids = [list(example.input_ids) for example in prompts.examples]
    columns: dict[str, Any] = {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}
    return Dataset.from_dict({**columns, "labels": list(prompts.draw.labels)} if with_labels else columns)
