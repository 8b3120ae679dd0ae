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

LIGHT = """
import rocoft_bench
assert not {"torch", "peft", "typer", "rich"} & set(sys.modules)
"""
ROCOFT_FIRST = """
import rocoft_bench
from importlib.util import find_spec
assert find_spec("peft") is not None and "peft" not in sys.modules  # asking is not importing
import peft
assert "ROCOFT" in peft.PeftType.__members__
assert type(peft.PeftConfig.from_pretrained(folder)) is rocoft_bench.RoCoFTConfig
assert "Loader" not in type(peft.__loader__).__name__ or type(peft.__loader__).__module__ != "rocoft_bench"
"""
PEFT_FIRST = """
import peft
assert "ROCOFT" not in peft.PeftType.__members__
import rocoft_bench
assert "ROCOFT" in peft.PeftType.__members__
assert peft.PeftConfig.from_pretrained(folder).rank == 5
"""
CLASS_FIRST = """
from rocoft_bench import RoCoFTConfig
import peft
assert peft.PeftConfig.from_pretrained(folder).peft_type is peft.PeftType.ROCOFT
"""
EACH_IN_A_CHILD = """
import contextlib, os, sys, traceback

def run(script):
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    try:
        exec(script, {"sys": sys, "folder": sys.argv[1]})
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

first = run(sys.argv[2])
import transformers.modeling_utils  # most of what peft imports, once
with contextlib.suppress(ImportError):
    import bitsandbytes
sys.exit(first or any([run(script) for script in sys.argv[3:]]))
"""


def test_order_of_imports(tmp_path: Path) -> None:
    RoCoFTConfig(rank=5).save_pretrained(str(tmp_path))
    scripts = (LIGHT, ROCOFT_FIRST, PEFT_FIRST, CLASS_FIRST)
    command = [sys.executable, "-c", EACH_IN_A_CHILD, str(tmp_path), *scripts]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


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
