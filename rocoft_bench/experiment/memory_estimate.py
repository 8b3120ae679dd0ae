"""How much memory a run will need, before it starts: by formula, from shapes, without torch and without network.

    weights      the model's own values, head included, in model.dtype (QLoRA: 4 bits; see model.quantization)
    trained      what the method puts beside them, in float32, and a copy of the head where it trains one; where it
                 trains values of a 16-bit model itself, what float32 takes more
    gradients    one for each trained value
    optimizer    AdamW's two averages of each
    activations  what is kept for backward and the largest thing that lives for a moment beside it (a language model's
                 logits over the vocabulary and their gradients); or an evaluation's forward pass, whose key-value cache
                 and logits may be larger
    process      on a CPU: Python and the libraries

The parts are added up as if all were largest at once, which a full fine-tuning's gradients and activations are not. On
a GPU the total stands beside `torch.cuda.max_memory_allocated`: the CUDA context (about half a GiB) and what the
allocator holds in reserve come on top. Left out: what the allocator loses to fragments, the data, and of
the head all but its parameters. Examples are taken to be as long as `task.max_length` allows, unless their length is
told.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rocoft_bench import models
from rocoft_bench.config import MIXED, ModelConfig
from rocoft_bench.experiment.passes import FLOAT32, ExampleLength, LayerSizes, MethodNeeds, Passes
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.methods import TASKS_WITH_HEAD, Method
from rocoft_bench.models import MASKED_LM, ModelShapes
from rocoft_bench.models.quantised import WEIGHT_BYTES

MIB = 1024 * 1024

PROCESS_MIB = 620.0
"""Resident memory of a process that has trained a model of a few MiB on a CPU: Python, torch, transformers, peft,
datasets, accelerate. Measured on Linux with torch 2.13."""

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class MemoryEstimate:
    """By part in MiB (see above), for batches of so many examples of a length; of one process if there are several."""

    parts: dict[str, float]
    examples: int
    length: ExampleLength
    on_gpu: bool

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def as_record(self) -> dict[str, float]:
        return {part: round(mib, 1) for part, mib in {**self.parts, "total": self.total}.items()}


def memory_mib(experiment: Experiment) -> float | None:
    """The estimate's total for one of the models that ship their shapes; None for others. Fast: for planning sweeps."""
    facts = shipped_facts(experiment.config.model.name, experiment.task.kind)
    return None if facts is None else estimate(experiment, facts).total


def estimate(
    experiment: Experiment, facts: LayerSizes, longest: ExampleLength | None = None, gpu: bool | None = None
) -> MemoryEstimate:
    """The memory that a run needs.

    Args:
        facts: Of its model: `shipped_facts` or `facts_of`.
        longest: Tokens of the longest example; by default as many as the settings and the model allow.
        gpu: Whether it runs on one; by default whether there is one here.
    """
    config, method, shapes = experiment.config, experiment.method, facts.shapes
    item = BYTES[config.model.dtype]
    needs = needs_of(method, facts, item)
    head = method.head_parameters(shapes)
    trained = (needs.added + head) * FLOAT32
    in_place = head * (not needs.memory.copies_head) + needs.added * (not needs.memory.adds_values)
    passes = Passes(
        facts=facts,
        method=needs,
        length=longest or longest_allowed(experiment, shapes),
        item=item,
        mixed=config.training.precision in MIXED,
        gpu=has_gpu() if gpu is None else gpu,
        dropout=config.model.dropout,
        writes_text=experiment.task.kind not in (*TASKS_WITH_HEAD, MASKED_LM),
    )
    examples = min(config.training.batch_size, config.task.max_train_rows or config.training.batch_size)
    training = passes.training_bytes(examples, config.training.gradient_checkpointing)
    parts = {
        "weights": (needs.memory.base_bytes - _saved_bytes(config.model, shapes)) / MIB,
        "trained": (trained - in_place * item) / MIB,
        "gradients": trained / MIB,
        "optimizer": needs.memory.optimizer_values * trained / MIB,
        "activations": max(training, _evaluation_bytes(experiment, passes)) / MIB,
        "process": 0.0 if passes.gpu else PROCESS_MIB,
    }
    return MemoryEstimate(parts, examples, passes.length, on_gpu=passes.gpu)


def _saved_bytes(model: ModelConfig, shapes: ModelShapes) -> float:
    """By quantisation, which keeps the blocks' matrices in fewer bytes."""
    if model.quantization is None:
        return 0.0
    packed = sum(linear.d_in * linear.d_out for linear in shapes.linears)
    return packed * (BYTES[model.dtype] - WEIGHT_BYTES[model.quantization])


def longest_allowed(experiment: Experiment, shapes: ModelShapes) -> ExampleLength:
    """The longest example that the settings and the model allow, with the method's virtual tokens."""
    settings, longest = experiment.config.task, shapes.forward.longest
    source = settings.max_length + experiment.method.added_tokens
    target = getattr(settings, "max_target_length", settings.max_length) if shapes.is_encoder_decoder else 0
    return ExampleLength(source if longest is None else min(source, longest), target)


def _evaluation_bytes(experiment: Experiment, passes: Passes) -> float:
    config, task = experiment.config, experiment.task
    examples = min(config.training.eval_batch_size, config.task.max_eval_rows or config.training.eval_batch_size)
    if task.output(config.task) != "text":
        return passes.forward_bytes(examples)
    arguments = task.generation(config.task)
    new_tokens = arguments.get("max_new_tokens") or arguments["max_length"]
    return passes.generation_bytes(examples, new_tokens, arguments.get("num_beams", 1))


@cache
def shipped_facts(model: str, task_kind: str) -> LayerSizes | None:
    """Of one of the models that ship their shapes; None for others."""
    shapes = models.shipped_shapes(model, task_kind)
    return None if shapes is None else LayerSizes(shapes)


def facts_of(experiment: Experiment) -> LayerSizes | None:
    """Of any model whose configuration is here, in a folder or in the hub's cache; None if it is not.

    Loads torch for those that do not ship their shapes.

    Raises: UserError if the model's name is neither a folder with a saved model nor a hub id.
    """
    model, kind = experiment.config.model, experiment.task.kind
    if facts := shipped_facts(model.name, kind):
        return facts
    from rocoft_bench.models.shape_reading import local_shapes

    shapes = local_shapes(model, kind, kind in TASKS_WITH_HEAD)
    return None if shapes is None else LayerSizes(shapes)


def has_gpu() -> bool:
    """Whether this machine has a GPU of Nvidia's, as far as that shows without torch."""
    return Path("/dev/nvidia0").exists()


def needs_of(method: Method, facts: LayerSizes, item: int) -> MethodNeeds:
    """Computed once for equal settings. item: bytes of a value of the model."""
    return _needs(facts, type(method), method.settings.model_dump_json(), item)


@cache
def _needs(facts: LayerSizes, method_class: type[Method], settings: str, item: int) -> MethodNeeds:
    """settings: of the method, as JSON."""
    method, shapes = method_class(method_class.Settings.model_validate_json(settings)), facts.shapes
    memory = method.memory(shapes, item)
    inputs = memory.inputs
    fused = {linear.name for linear in (*inputs, *memory.inputs_made_again)} if memory.fuses_matmul else set()
    return MethodNeeds(
        memory=memory,
        added=method.adapter_parameters(shapes),
        inputs=facts.distinct_inputs(inputs),
        inputs_apart=facts.per_token((linear, linear.d_in) for linear in inputs),
        beside=facts.per_token(memory.extra_saved_per_token),
        copied_weights=sum(linear.d_in * linear.d_out for linear in shapes.linears if linear.name not in fused),
        trained_weights=0 if memory.adds_values else sum(linear.d_in * linear.d_out for linear in inputs),
    )
