"""A tiny masked language model on disk, and few-shot rows for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ntk.models import save_masked_lm, write_few_shot_rows


@pytest.fixture(scope="session")
def masked_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masked-lm")
    save_masked_lm(folder)
    return folder


@pytest.fixture(scope="session")
def rows_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mr (two classes), trec (six) and mrpc (pairs): training rows to draw from, and 20 test rows."""
    folder = tmp_path_factory.mktemp("rows") / "data"
    write_few_shot_rows(folder)
    return folder
