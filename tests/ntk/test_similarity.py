"""Kernels of two analyses, or of other programs, side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rocoft_bench.errors import UserError
from rocoft_bench.ntk.similarity import compared, read_kernels


def kernel(size: int = 4, seed: int = 0) -> torch.Tensor:
    features = torch.randn(size, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return features @ features.t()


def test_kernels_of_the_same_name(tmp_path: Path) -> None:
    for name, factor in (("a", 1), ("b", 3)):
        (tmp_path / name).mkdir()
        tensors = {"K_row": factor * kernel(), "K_full": kernel(seed=factor), "outputs": torch.zeros(4, 1)}
        save_file(tensors, tmp_path / name / "kernels.safetensors")
    row, full = sorted(compared(tmp_path / "a", tmp_path / "b"), key=lambda pair: pair.difference_1)
    assert (row.name, row.size) == ("K_row", 4)
    assert row.scale == pytest.approx(3)
    assert row.difference_2 == pytest.approx(0, abs=1e-12)
    assert row.alignment == pytest.approx(1)
    assert full.difference_2 > 0.1


def test_the_followed_code_s_file_has_a_kernel_for_each_logit(tmp_path: Path) -> None:
    torch.save(torch.stack([kernel(), kernel(seed=1)]), tmp_path / "train_kernels_0.pt")
    save_file({"K_full": kernel()}, tmp_path / "ours.safetensors")
    pairs = compared(tmp_path / "ours.safetensors", tmp_path / "train_kernels_0.pt")
    assert [pair.name for pair in pairs] == ["K_full and train_kernels_0[0]", "K_full and train_kernels_0[1]"]
    assert pairs[0].difference_1 == pytest.approx(0, abs=1e-12)


def test_no_code_in_a_file_is_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> object:
            return (Path.touch, (tmp_path / "harm",))

    torch.save(Harm(), tmp_path / "bad.pt")
    with pytest.raises(UserError, match=r"bad\.pt: is not a file of tensors alone"):
        read_kernels(tmp_path / "bad.pt")
    assert not (tmp_path / "harm").exists()


def test_what_is_no_kernel(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        read_kernels(tmp_path)
    (tmp_path / "kernels.safetensors").write_bytes(b"half of it")
    with pytest.raises(UserError, match="is not a whole safetensors file"):
        read_kernels(tmp_path)
    save_file(
        {"a": torch.ones(2, 3), "b": torch.full((2, 2), torch.nan), "c": torch.arange(4.0).view(2, 2)},
        tmp_path / "c.safetensors",
    )
    with pytest.raises(UserError, match="holds no symmetric matrix of finite numbers"):
        read_kernels(tmp_path / "c.safetensors")
    save_file({"K": kernel(4)}, tmp_path / "four.safetensors")
    save_file({"K": kernel(5)}, tmp_path / "five.safetensors")
    with pytest.raises(UserError, match="no kernels of the same name and size"):
        compared(tmp_path / "four.safetensors", tmp_path / "five.safetensors")
