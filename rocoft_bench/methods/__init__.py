"""The fine-tuning methods: one file for each or for a few that are akin; plug-ins add their own."""

from typing import Any

from rocoft_bench.config import checked, defaults_of
from rocoft_bench.errors import UserError
from rocoft_bench.methods.adalora import AdaLoRA
from rocoft_bench.methods.bottleneck_adapters import MAM, SequentialAdapter
from rocoft_bench.methods.dense import BitFit, Full, HeadOnly
from rocoft_bench.methods.diff_pruning import DiffPruning
from rocoft_bench.methods.ia3 import IA3
from rocoft_bench.methods.in_model import InModelMethod
from rocoft_bench.methods.ln_tuning import LNTuning
from rocoft_bench.methods.lora import DoRA, LoRA, LoRAFA
from rocoft_bench.methods.lycoris import LoHa, LoKr
from rocoft_bench.methods.method import Method, NoSettings
from rocoft_bench.methods.mixed_lora import LoraXS, MoSLoRA
from rocoft_bench.methods.prompt_learning import PrefixTuning, PromptTuning
from rocoft_bench.methods.propetl import PropetlAdapter, PropetlLoRA, PropetlPrefix
from rocoft_bench.methods.qlora import LoftQ, QLoRA
from rocoft_bench.methods.rocoft import RoCoFT
from rocoft_bench.methods.sft import SFT
from rocoft_bench.methods.shira import SHiRA
from rocoft_bench.methods.vera import VeRA
from rocoft_bench.models import TASKS_WITH_HEAD, check_named, known_model
from rocoft_bench.plugins import Registry


def _problem_of(method: Any) -> str | None:
    """What keeps something of a plug-in from being a method."""
    if not (isinstance(method, type) and issubclass(method, Method)):
        return "a subclass of Method is wanted"
    lacking = [name for name in STATED if not hasattr(method, name)] + sorted(method.__abstractmethods__)
    if lacking:
        return f"it lacks {', '.join(lacking)}"
    others = (other.name for other in METHODS.values() if other.label == method.label and other.name != method.name)
    same = next(others, None)
    return f'its label "{method.label}" is that of {same}, and tables would take them for one' if same else None


STATED = ("name", "label", "trains", "provider", "mergeable", "reference", "Settings", "learning_rate", "weight_decay")
"""What a method has to say of itself."""

METHODS: Registry[type[Method]] = Registry(
    "method",
    "rocoft.methods",
    lambda method: method.name,
    (
        RoCoFT,
        Full,
        BitFit,
        HeadOnly,
        PromptTuning,
        PrefixTuning,
        IA3,
        SequentialAdapter,
        LoRA,
        AdaLoRA,
        MAM,
        PropetlAdapter,
        PropetlPrefix,
        PropetlLoRA,
        MoSLoRA,
        LoraXS,
        VeRA,
        LoRAFA,
        SFT,
        DiffPruning,
        LoHa,
        LoKr,
        DoRA,
        QLoRA,
        LoftQ,
        SHiRA,
        LNTuning,
    ),
    _problem_of,
)
"""By name, in the order of the paper's tables."""


def resolve(
    section: dict[str, Any], sources: dict[str, str] | None = None, task_kind: str = "", model: str = ""
) -> Method:
    """The method that a config's `method` section names, with its settings checked and completed.

    task_kind, model: what the defaults may depend on (`Method.presets`).

    Raises: UserError if the method or one of its settings is unknown or out of range.
    """
    if section.get("name") is None:
        raise UserError("method.name is missing; `rocoft ls methods` shows the names")
    method = METHODS.find(section["name"])
    given = {key: value for key, value in section.items() if key != "name"}
    settings = checked(method.Settings, _presets(method, task_kind, model) | given, sources, prefix="method")
    check_named(getattr(settings, "target_modules", None))
    resolved = method(settings)
    resolved.check_effect(sources or {})
    return resolved


def defaults(method: type[Method], task_kind: str, model: str) -> dict[str, Any]:
    """What a method's settings are where nothing is said of them."""
    return defaults_of(method.Settings) | _presets(method, task_kind, model)


def _presets(method: type[Method], task_kind: str, model: str) -> dict[str, Any]:
    known = known_model(model)
    return method.presets.get(task_kind, {}) | (method.presets.get(known.alias, {}) if known else {})


__all__ = ["METHODS", "TASKS_WITH_HEAD", "InModelMethod", "Method", "NoSettings", "defaults", "resolve"]
