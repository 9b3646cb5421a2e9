"""What a launcher asks by its variables: options that this program decides itself, and how weights are sharded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from shiqbench.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

NOT_OURS = (
    ("ACCELERATE_USE_DEEPSPEED", "false", "launch with DDP or FSDP2, see docs/distributed.md"),
    ("ACCELERATE_USE_MEGATRON_LM", "false", "launch with DDP or FSDP2, see docs/distributed.md"),
    ("ACCELERATE_USE_PARALLELISM_CONFIG", "false", "launch with DDP or FSDP2, see docs/distributed.md"),
    ("ACCELERATE_MIXED_PRECISION", "no", "launch with --mixed_precision no and set train.precision"),
    ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1", "leave it out and set train.micro_tokens"),
    ("ACCELERATE_DYNAMO_BACKEND", "no", "leave it out"),
)
SHARDING = "ACCELERATE_USE_FSDP"
# As accelerate writes them; a variable that is absent is accepted, except the version, where absent means 1.
OF_SHARDING = (
    ("FSDP_VERSION", "2", "set fsdp_version: 2"),
    ("FSDP_RESHARD_AFTER_FORWARD", "true", "set fsdp_reshard_after_forward: true"),
    ("FSDP_SHARDING_STRATEGY", "FULL_SHARD", "leave it out"),
    ("FSDP_STATE_DICT_TYPE", "SHARDED_STATE_DICT", "set fsdp_state_dict_type: SHARDED_STATE_DICT"),
    ("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP", "set fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP"),
    ("FSDP_TRANSFORMER_CLS_TO_WRAP", "", "leave it out: every layer of the model is a unit"),
    ("FSDP_IGNORED_MODULES", "", "leave it out"),
    ("FSDP_OFFLOAD_PARAMS", "false", "set fsdp_offload_params: false"),
    ("FSDP_CPU_RAM_EFFICIENT_LOADING", "false", "set fsdp_cpu_ram_efficient_loading: false"),
    ("FSDP_ACTIVATION_CHECKPOINTING", "false", "leave it out and set train.checkpointing=true"),
    ("FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD", "false", "leave it out"),
    ("FSDP_FORWARD_PREFETCH", "false", "leave it out"),
    ("FSDP_BACKWARD_PREFETCH", "", "leave it out"),
)


def shards() -> bool:
    """Whether the launcher asks for FSDP."""
    return os.environ.get(SHARDING, "false").lower() not in ("", "0", "no", "false")


def check(processes: int) -> None:
    """Refuse what this program decides itself, or does not support.

    Args:
        processes: Number of processes that were launched.

    Raises:
        ConfigError: The message names the variable, and what to do.
    """
    _refuse(NOT_OURS)
    if not shards():
        return
    if processes == 1:
        raise ConfigError("FSDP shards over several processes, and there is one", where="launcher", do="launch more")
    os.environ.setdefault("FSDP_VERSION", "1")
    _refuse(OF_SHARDING)


def forget_sharding() -> None:
    """Remove the variables of FSDP; accelerate and transformers would load and wrap models as they say."""
    for name in [k for k in os.environ if k == SHARDING or k.startswith("FSDP_")]:
        del os.environ[name]


def _refuse(variables: Iterable[tuple[str, str, str]]) -> None:
    for name, accepted, do in variables:
        value = os.environ.get(name, accepted)
        if value.lower() != accepted.lower():
            raise ConfigError(f"{name}={value} cannot be honoured", where="launcher", do=do)
