"""A base model whose blocks' matrices are kept in 4 or 8 bits, by bitsandbytes."""

import importlib.util
from typing import Any

from rocoft_bench.config import ModelConfig
from rocoft_bench.errors import UserError

OUTSIDE_BLOCKS = [
    *("lm_head", "embed_out"),
    *("classifier", "pre_classifier", "pooler", "score", "classification_head", "qa_outputs"),
]
"""Linear layers that stay as they are: output embeddings and task heads, of which transformers would quantise some."""

WEIGHT_BYTES = {"nf4": 1 / 2 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}
"""Of a weight. NF4 has an 8-bit constant for 64 of them and a float32 for 256 of those; int8 a float32 for each row."""


def check_bitsandbytes(what: str) -> None:
    """Raises UserError where it is not installed. what: needs it."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"{what} needs bitsandbytes: pip install 'rocoft-bench[quant]'")


def nf4_options(compute_dtype: str, outside: list[str] = OUTSIDE_BLOCKS) -> dict[str, Any]:
    """Arguments of `from_pretrained`. compute_dtype: of the products with dequantised weights."""
    return _options(
        outside,
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def quantised_options(config: ModelConfig) -> dict[str, Any]:
    """Arguments of `from_pretrained` that `model.quantization` asks for."""
    if config.quantization is None:
        return {}
    outside = [rf"(.*\.)?({'|'.join(OUTSIDE_BLOCKS)})"]  # wherever they are in the model
    return nf4_options(config.dtype, outside) if config.quantization == "nf4" else _options(outside, load_in_8bit=True)


def _options(outside: list[str], **settings: Any) -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    return {"quantization_config": BitsAndBytesConfig(llm_int8_skip_modules=outside, **settings)}
