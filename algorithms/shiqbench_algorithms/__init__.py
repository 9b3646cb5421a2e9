"""The algorithms that ship with shiqbench, one page each. They register like anybody's."""

from __future__ import annotations

from shiqbench.specs import AlgorithmSpec, hookimpl


@hookimpl
def shiqbench_register_algorithms() -> list[AlgorithmSpec]:
    """Name the built-in algorithms."""
    return [
        AlgorithmSpec(
            name="base",
            version="1",
            summary="the model as it is; trains nothing",
            target="shiqbench_algorithms.base:Base",
            config="shiqbench_algorithms.base:BaseConfig",
            trains=False,
        ),
        AlgorithmSpec(
            name="sft",
            version="1",
            summary="supervised fine-tuning on accepted episodes",
            target="shiqbench_algorithms.sft:Sft",
            config="shiqbench_algorithms.sft:SftConfig",
        ),
        AlgorithmSpec(
            name="dpo",
            version="1",
            summary="direct preference optimisation on pairs of a group",
            target="shiqbench_algorithms.dpo:Dpo",
            config="shiqbench_algorithms.dpo:DpoConfig",
        ),
        AlgorithmSpec(
            name="shiq",
            version="1",
            summary="Q-learning on the logits: off-policy, token by token, multi-turn",
            target="shiqbench_algorithms.shiq:Shiq",
            config="shiqbench_algorithms.shiq:ShiqConfig",
        ),
    ]
