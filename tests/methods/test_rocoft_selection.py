"""RoCoFT's choice of rows and columns during training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rocoft_bench import methods
from rocoft_bench.config import TrainingConfig
from rocoft_bench.errors import UserError

from .crashed_runs import KIND, crashed_and_whole, trainer


@pytest.mark.parametrize("crash_at", [3, 4, 11])
@pytest.mark.parametrize("mode", ["row", "column", "row_column"])
def test_a_crashed_run_goes_on_to_the_identical_result(
    mode: str, crash_at: int, make_model: Callable[..., Any], tmp_path: Path
) -> None:
    """Crashes within, right after and long after the step that reselects."""
    method = methods.resolve({"name": "rocoft", "mode": mode, "rank": 2, "reselect_every": 3})
    crashed_and_whole(method, make_model, tmp_path, crash_at)


@pytest.mark.parametrize("mode", ["row", "column"])
@pytest.mark.parametrize(
    "other", [{"reselect_by": "wanda"}, {"reselect_by": "random"}, {"reselect_keeps": True}], ids=str
)
def test_so_does_one_that_chooses_or_leaves_in_another_way(
    other: dict[str, Any], mode: str, make_model: Callable[..., Any], tmp_path: Path
) -> None:
    method = methods.resolve({"name": "rocoft", "mode": mode, "rank": 2, "reselect_every": 3, **other})
    crashed_and_whole(method, make_model, tmp_path, 4)


def test_rows_are_chosen_anew_and_saved_with_what_they_are(make_model: Callable[..., Any], tmp_path: Path) -> None:
    chosen = {}
    for every in (None, 3, 12):
        method = methods.resolve({"name": "rocoft", "rank": 2, "reselect_every": every})
        run = trainer(method, make_model, tmp_path / str(every))
        run.run()
        state = run.model.state_dict()
        chosen[every] = [value.tolist() for name, value in state.items() if name.endswith("row_indices")]
        method.save(run.model, tmp_path / f"adapter-{every}")
        loaded = method.load(make_model("roberta", KIND), tmp_path / f"adapter-{every}", KIND).state_dict()
        assert chosen[every] == [value.tolist() for name, value in loaded.items() if name.endswith("row_indices")]
    assert chosen[None] == chosen[12]  # not after the last step
    assert chosen[None] != chosen[3]


def test_the_rate_rises_again_after_each_choice(make_model: Callable[..., Any], tmp_path: Path) -> None:
    rates = {}
    for warmup in (0, 2):
        settings = {"name": "rocoft", "rank": 2, "reselect_every": 3, "reselect_warmup": warmup}
        run = trainer(methods.resolve(settings), make_model, tmp_path / str(warmup))
        rates[warmup] = [entry["learning_rate"] for entry in run.run().state.history if "loss" in entry]
    shares = [warm / plain for warm, plain in zip(rates[2], rates[0], strict=True) if plain]
    assert shares[:9] == pytest.approx([1, 1, 1, 0.5, 1, 1, 0.5, 1, 1])


def test_what_is_left_and_kept_is_stored_beside_what_is_trained(make_model: Callable[..., Any], tmp_path: Path) -> None:
    method = methods.resolve({"name": "rocoft", "rank": 2, "reselect_every": 3, "reselect_keeps": True})
    run = trainer(method, make_model, tmp_path / "run")
    run.run()
    saved = {name: value for name, value in run.model.state_dict().items() if ".rocoft_adapter." in name}
    kept = sum(value.numel() for name, value in saved.items() if name.endswith("kept_values"))
    assert method.stored_parameters(run.model, 1000) == 1000 + kept > 1000
    method.save(run.model, tmp_path / "adapter")
    loaded = method.load(make_model("roberta", KIND), tmp_path / "adapter", KIND).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in saved.items())


def test_what_does_not_go_with_it_is_refused() -> None:
    method = methods.resolve({"name": "rocoft", "reselect_every": 5})
    with pytest.raises(UserError, match="what rocoft trains changes until the end of training"):
        method.check_training(TrainingConfig(keep="best"))
    with pytest.raises(UserError, match="rocoft is trained by one process"):
        method.check_processes(sharded=False)
    with pytest.raises(UserError, match=r"method\.reselect_every has no effect in mode random"):
        methods.resolve({"name": "rocoft", "mode": "random", "reselect_every": 5}).check_effect(
            {"method.reselect_every": "--set method.reselect_every=5"}
        )
    with pytest.raises(UserError, match="reselect_by wanda has no effect without reselect_every"):
        methods.resolve({"name": "rocoft", "reselect_by": "wanda"})
    with pytest.raises(UserError, match="reselect_keeps True has no effect without reselect_every"):
        methods.resolve({"name": "rocoft", "reselect_keeps": True})
