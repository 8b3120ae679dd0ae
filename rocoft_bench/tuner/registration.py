"""Makes RoCoFT known to PEFT under the name "ROCOFT"."""

from peft import PeftType
from peft.utils import register_peft_method


def register() -> None:
    """Register the method with PEFT. Safe to call twice, and a no-op if PEFT itself ever knows the name.

    PEFT looks a method up by its member of the `PeftType` enumeration and offers no way to add one, so the member is
    made here the way `enum` makes its own; saved configurations and error messages then treat it like any other.
    """
    name = "ROCOFT"
    if name in PeftType.__members__:
        return
    member = str.__new__(PeftType, name)
    member._name_ = member._value_ = name
    member._sort_order_ = len(PeftType)  # type: ignore[attr-defined]
    PeftType._member_map_[name] = member
    PeftType._value2member_map_[name] = member
    PeftType._member_names_.append(name)
    type.__setattr__(PeftType, name, member)
    from rocoft_bench.tuner.config import RoCoFTConfig
    from rocoft_bench.tuner.model import RoCoFTModel

    register_peft_method(name="rocoft", config_cls=RoCoFTConfig, model_cls=RoCoFTModel, prefix="rocoft_")
