"""`import rocoft_bench` stays light and registers the method with PEFT, whichever of the two comes first."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from peft import PeftMixedModel, PeftType, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn

from rocoft_bench import RoCoFTConfig, _when_imported
from rocoft_bench.tuner.registration import register

ROCOFT_FIRST = """
import sys
import rocoft_bench
assert not {"torch", "peft", "typer", "rich"} & set(sys.modules)
from importlib.util import find_spec
assert find_spec("peft") is not None and "peft" not in sys.modules  # asking is not importing
import peft
assert "ROCOFT" in peft.PeftType.__members__
assert type(peft.PeftConfig.from_pretrained(sys.argv[1])) is rocoft_bench.RoCoFTConfig
assert "Loader" not in type(peft.__loader__).__name__ or type(peft.__loader__).__module__ != "rocoft_bench"
"""
PEFT_FIRST = """
import sys
import peft
assert "ROCOFT" not in peft.PeftType.__members__
import rocoft_bench
assert "ROCOFT" in peft.PeftType.__members__
assert peft.PeftConfig.from_pretrained(sys.argv[1]).rank == 5
"""
CLASS_FIRST = """
import sys
from rocoft_bench import RoCoFTConfig
import peft
assert peft.PeftConfig.from_pretrained(sys.argv[1]).peft_type is peft.PeftType.ROCOFT
"""


@pytest.mark.parametrize("script", [ROCOFT_FIRST, PEFT_FIRST, CLASS_FIRST], ids=["rocoft", "peft", "class"])
def test_order_of_imports(script: str, tmp_path: Path) -> None:
    RoCoFTConfig(rank=5).save_pretrained(str(tmp_path))
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=120)


def test_the_member_is_like_any_other() -> None:
    before = len(PeftType)
    register()
    register()
    assert len(PeftType) == before == len(set(PeftType))
    member: Any = PeftType["ROCOFT"]
    assert member is PeftType("ROCOFT") is PeftType.ROCOFT  # type: ignore[attr-defined]
    assert member == "ROCOFT"
    assert (member.name, member.value) == ("ROCOFT", "ROCOFT")
    assert member in list(PeftType)
    assert "ROCOFT" in PeftType.__members__
    assert pickle.loads(pickle.dumps(member)) is copy.deepcopy(member) is member
    assert PEFT_TYPE_TO_CONFIG_MAPPING[member] is RoCoFTConfig


def test_mixed_models_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="'ROCOFT' is not compatible with the `PeftMixedModel`"):
        get_peft_model(model, RoCoFTConfig(target_modules=["0"]), mixed=True)
    assert PeftMixedModel is not None


def test_action_runs_once_after_the_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_module.py").write_text("value = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    finders, seen = list(sys.meta_path), []
    _when_imported("late_module", lambda: seen.append(sys.modules["late_module"].value))
    assert find_spec("late_module") is not None
    assert seen == []
    module = __import__("late_module")
    assert isinstance(module, ModuleType)
    assert seen == [1]
    assert sys.meta_path == finders
    _when_imported("late_module", lambda: seen.append(2))
    assert seen == [1, 2]


def test_action_waits_in_vain_for_a_missing_module() -> None:
    finders = list(sys.meta_path)
    _when_imported("no_such_module_anywhere", lambda: pytest.fail("was called"))
    with pytest.raises(ModuleNotFoundError):
        __import__("no_such_module_anywhere")
    sys.meta_path[:] = finders
