"""The tasks that ship with shiqbench. They register like anybody's."""

from __future__ import annotations

from typing import Any

from shiqbench.plugin import TaskSpec, hookimpl
from shiqbench_tasks.bfcl_v3.versions import BFCL_V3, BFCL_V4

# Every message of the ground truth is at most 174 SmolLM2 tokens long, every episode at most 1,955.
_BFCL_CPU: dict[str, Any] = {
    "task.reward": "turn",
    "task.centre": "group",
    "task.perturbations": 1,
    "train.updates": 12,
    "train.batch_episodes": 2,
    "train.micro_tokens": 2048,
    "train.lr": 2e-4,
    "train.lora_rank": 16,
    "train.top_layers": 15,
    "train.precision": "fp32",
    # Continued supervision is trained as its start was, without adapters; at 3e-4 it did worse on the validation split.
    "sft:train.lr": 1e-4,
    "sft:train.lora_rank": 0,
    # Chosen on the validation split, see docs/bfcl_v3.md.
    "shiq:algo.beta": 0.1,
    "eval.engine": "vllm",
    "eval.precision": "fp32",
    "eval.max_steps": 4,
    "eval.max_tokens": 96,
    "eval.max_episode_tokens": 512,
    "eval.max_context": 4096,
    "start.algorithm": "sft",
    "start.task": {"behaviours": ["ground_truth"]},
    # No identity hangs on the start's precision, and bf16 is the faster one on most processors.
    "start.train": {
        "updates": 28,
        "batch_episodes": 2,
        "micro_tokens": 4096,
        "lr": 3e-4,
        "top_layers": 15,
        "precision": "bf16",
    },
}
_BFCL_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **_BFCL_CPU,
        "task.scenarios": 4,
        "train.updates": 2,
        "eval.examples": 2,
        "eval.max_steps": 2,
        "eval.max_tokens": 48,
        "eval.max_episode_tokens": 256,
        "start.train": {**_BFCL_CPU["start.train"], "updates": 2},
    },
    "cpu": _BFCL_CPU,
    "full": {
        "task.primary": "valid",
        "task.reward": "turn",
        "train.updates": 300,
        "train.batch_episodes": 16,
        "train.micro_tokens": 16384,
        "train.lr": 1e-5,
        "train.max_tokens": 8192,
        "eval.engine": "vllm",
        "eval.max_steps": 20,
        "eval.max_tokens": 1024,
        "eval.max_episode_tokens": 16384,
        "eval.max_context": 32768,
        "start.algorithm": "sft",
        "start.task": {"behaviours": ["ground_truth"]},
        "start.train": {"updates": 100, "batch_episodes": 16, "micro_tokens": 16384, "lr": 1e-5},
    },
}
_ULTRAFEEDBACK_CPU: dict[str, Any] = {
    "task.longest_prompt": 1000,
    "task.longest_answer": 1200,
    "task.centre": "dataset",
    "task.scale": "deviation",
    "train.updates": 30,
    "train.batch_episodes": 8,
    "train.micro_tokens": 2048,
    "train.lr": 2e-4,
    "train.lora_rank": 16,
    "train.top_layers": 15,
    "train.precision": "fp32",
    # The KL to the reference is estimated on the answers themselves if they are sampled like this.
    "eval.temperature": 1.0,
    "eval.engine": "vllm",
    "eval.precision": "fp32",
    "eval.max_tokens": 192,
    "eval.max_context": 2048,
}
_ULTRAFEEDBACK_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **_ULTRAFEEDBACK_CPU,
        "task.longest_prompt": 200,
        "task.longest_answer": 400,
        "task.held_out_pairs": 20,
        "train.updates": 2,
        "train.batch_episodes": 4,
        "eval.examples": 8,
        "eval.max_tokens": 32,
    },
    "cpu": _ULTRAFEEDBACK_CPU,
    "full": {
        "task.centre": "dataset",
        "task.scale": "deviation",
        "task.reward_model": "bradley_terry_full",
        "task.held_out_pairs": 2000,
        "train.updates": 500,
        "train.batch_episodes": 64,
        "train.micro_tokens": 16384,
        "train.lr": 1e-6,
        "eval.engine": "vllm",
        "eval.temperature": 1.0,
        "eval.examples": 1000,
        "eval.max_tokens": 1024,
        "eval.max_context": 8192,
    },
}
_WITH_BETA = ("shiq", "dpo", "ipo", "kto", "copg", "qrpo", "reinforce", "tbrm", "reval", "oreo", "dqo")
# Every loss is given the objective's beta, task.beta = 0.5.
_MDP_CPU: dict[str, Any] = {
    **{f"{name}:algo.beta": 0.5 for name in _WITH_BETA},
    "dro:algo.tau": 0.5,
    "rebel:algo.eta": 2.0,
}
_MDP_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {**_MDP_CPU, "task.seeds": 4, "train.updates": 20},
    "cpu": _MDP_CPU,
    "full": {**_MDP_CPU, "task.seeds": 100, "train.updates": 2000},
}

_LM_EVAL_CPU: dict[str, Any] = {
    "eval.engine": "vllm",
    "eval.precision": "fp32",
    "eval.examples": 50,
    "eval.max_tokens": 256,
    "eval.max_context": 4096,
}
_LM_EVAL_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {**_LM_EVAL_CPU, "eval.examples": 4, "eval.max_tokens": 48},
    "cpu": _LM_EVAL_CPU,
    "full": {"eval.engine": "vllm"},
}


@hookimpl
def shiqbench_register_tasks() -> list[TaskSpec]:
    """Name the built-in tasks."""
    return [
        TaskSpec(
            name="bfcl_v3",
            version="1",
            summary="operate simulated tools over several user turns (BFCL-V3 multi-turn)",
            target="shiqbench_tasks.bfcl_v3.task:BfclTask",
            config="shiqbench_tasks.bfcl_v3.config:BfclConfig",
            presets=_BFCL_PRESETS,
            assets=(BFCL_V3, BFCL_V4),
        ),
        TaskSpec(
            name="ultrafeedback",
            version="1",
            summary="answer instructions, judged by a reward model (UltraFeedback, or any rated or preference data)",
            target="shiqbench_tasks.ultrafeedback.task:UltraFeedbackTask",
            config="shiqbench_tasks.ultrafeedback.config:UltraFeedbackConfig",
            presets=_ULTRAFEEDBACK_PRESETS,
        ),
        TaskSpec(
            name="lm_eval",
            version="1",
            summary="standard suites of lm-eval, asked of any weights; evaluates only",
            target="shiqbench_tasks.lm_eval.task:LmEvalTask",
            config="shiqbench_tasks.lm_eval.config:LmEvalConfig",
            presets=_LM_EVAL_PRESETS,
            argument="suites",
            eval_config="shiqbench_tasks.lm_eval.config:LmEvalEvalConfig",
        ),
        TaskSpec(
            name="mdp",
            version="1",
            summary="synthetic MDPs solved exactly; the policy is a table of logits",
            target="shiqbench_tasks.mdp.task:MdpTask",
            config="shiqbench_tasks.mdp.config:MdpConfig",
            presets=_MDP_PRESETS,
            own_policy=True,
            train_config="shiqbench_tasks.mdp.config:MdpTrainConfig",
            eval_config="shiqbench_tasks.mdp.config:MdpEvalConfig",
        ),
    ]
