"""What the tests of instructions share: a tokenizer of single characters, and where the real rows may be."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

DATA_DIR = Path(os.environ.get("ROCOFT_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data")


class Characters:
    """Each character is a token, its code point the id; 3 ends a text."""

    bos_token_id, eos_token_id = None, 3

    def __call__(self, texts: Any, **_: Any) -> dict[str, Any]:
        ids = [[ord(letter) for letter in text] for text in ([texts] if isinstance(texts, str) else texts)]
        return {"input_ids": ids[0] if isinstance(texts, str) else ids}

    def decode(self, ids: Any, **_: Any) -> str:
        return "".join(chr(int(code)) for code in ids)


TOKENIZER: Any = Characters()


def says(text: str) -> np.ndarray:
    """A model's output that is this text."""
    return np.array(TOKENIZER(text)["input_ids"], dtype=int)


def settings(task: Any, **changes: Any) -> Any:
    """The task's settings, with room for a token a character."""
    return task.Settings(**{"family": task.family, "name": task.name, "max_length": 9000, **changes})


def write(folder: Path, family: str, name: str, split: str, rows: Any) -> Path:
    """Puts rows where --data-dir expects them; gives the file."""
    file = folder / family / name / f"{split}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rows))
    return file
