"""A third-party plugin of shiqbench: one algorithm, one task, registered through an entry point."""

from __future__ import annotations

from typing import Any

from shiqbench.plugin import AlgorithmSpec, TaskSpec, hookimpl

from shiqbench_plugin_example.awr import Awr

_CPU: dict[str, Any] = {
    "awr:algo.group": 4,
    "task.problems": 200,
    "train.updates": 20,
    "train.batch_episodes": 8,
    "train.micro_tokens": 2048,
    "train.lr": 1e-4,
    "train.precision": "fp32",
    "eval.engine": "vllm",
    "eval.precision": "fp32",
    "eval.examples": 50,
    "eval.max_tokens": 200,
    "eval.max_context": 1024,
}
_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **_CPU,
        "task.problems": 8,
        "train.updates": 2,
        "eval.engine": "transformers",
        "eval.examples": 2,
        "eval.max_tokens": 16,
    },
    "cpu": _CPU,
    "full": {
        "awr:algo.group": 4,
        "train.updates": 500,
        "train.batch_episodes": 32,
        "train.micro_tokens": 16384,
        "train.lr": 1e-5,
        "eval.engine": "vllm",
        "eval.max_tokens": 512,
        "eval.max_context": 2048,
    },
}


@hookimpl
def shiqbench_register_algorithms() -> list[AlgorithmSpec]:
    """Name the algorithm."""
    return [AlgorithmSpec.of(Awr, summary="advantage-weighted regression on groups")]


@hookimpl
def shiqbench_register_tasks() -> list[TaskSpec]:
    """Name the task. Its target is text, so that its module is imported when the task is used."""
    return [
        TaskSpec(
            name="gsm8k_solutions",
            version="1",
            summary="school mathematics, learned from four recorded solutions per problem (GSM8K)",
            target="shiqbench_plugin_example.gsm8k.task:Gsm8kTask",
            config="shiqbench_plugin_example.gsm8k.config:Gsm8kConfig",
            presets=_PRESETS,
        )
    ]
