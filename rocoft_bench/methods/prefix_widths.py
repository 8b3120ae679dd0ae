"""How wide the keys (and values) of an attention are, which is how wide a prefix in front of them is."""

from rocoft_bench.models import LINEAR_ROLES, ModelShapes


def key_width(d_out: int, model_type: str) -> int:
    """d_kv, where the layer that makes the keys has d_out outputs; a fused one makes queries, keys and values alike."""
    roles = LINEAR_ROLES[model_type]
    return d_out // 3 if roles.key == roles.query else d_out


def prefix_widths(shapes: ModelShapes) -> list[int]:
    """d_kv of each attention of a model, self- and cross-attention."""
    return [key_width(linear.d_out, shapes.model_type) for linear in shapes.targeted(["key"])]


NO_PREFIX = {"gemma2": "its attention caps the scores, which the attention with a prefix cannot do"}
"""The `model_type`s of which attentions take no prefix, as in `Method.not_architectures`."""
