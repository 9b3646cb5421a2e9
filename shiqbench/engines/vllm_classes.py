"""Classes of transformers that vLLM computes with, kept as transformers made them.

Where vLLM has no model of its own for a family, it takes the one of transformers and changes its class: a new object of
it asks for vLLM's configuration. No other model of this family could then be made in the process, neither to train it
nor to compare the engine with it.
"""

from __future__ import annotations

import inspect
from typing import Any


def restore_classes(model: Any) -> None:
    """Give vLLM's model a class of its own with these changes, and undo them in the class of transformers.

    Args:
        model: Model inside a vLLM engine; nothing changes if vLLM has changed no class.
    """
    from vllm.compilation.wrapper import TorchCompileWithNoGuardsWrapper as Wrapper

    for module in model.modules():
        kind = type(module)
        if Wrapper not in kind.__bases__ or not kind.__module__.startswith("transformers."):
            continue
        added = {n: v for n, v in vars(kind).items() if str(getattr(v, "__module__", "")).startswith("vllm.")}
        before = inspect.getclosurevars(added["__init__"]).nonlocals["old_init"]
        kind.__bases__ = tuple(base for base in kind.__bases__ if base is not Wrapper)
        for name in added:
            delattr(kind, name)
        kind.__init__ = before
        module.__class__ = type(kind.__name__, (kind, Wrapper), added)
