"""vLLM as a generator: one engine per process; weights are reloaded into it.

Building an engine takes many times as long as a reload, so an engine lives as long as the process needs one.
After every reload the prefix cache is reset: blocks computed by the old weights must never be reused.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from shiqbench.base.errors import ConfigError, EngineError
from shiqbench.engines.config import VllmConfig
from shiqbench.engines.vllm_classes import restore_classes
from shiqbench.episodes.generation import Completion, Sampling, check_finite
from shiqbench.models.identity import architecture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# vLLM reads these when it is imported.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    # vLLM would pin its threads to cores and shrink torch's pool, which slows training in the same process.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "HF_HUB_OFFLINE": "1",
}
DEFAULTS = VllmConfig()
GPU_SHARE = 0.6  # of each GPU's memory, for weights and cache, if nothing else is said


class VllmEngine:
    """A vLLM engine.

    Args:
        weights: Model folder.
        config: Settings.
        precision: Precision of weights and activations.
        max_context: Prompt plus completion, in tokens.

    Raises:
        ConfigError: A setting needs a GPU, and there is none.
        EngineError: Another vLLM engine is alive in this process, or vLLM fails.
    """

    name = "vllm"
    _alive: ClassVar[bool] = False

    def __init__(
        self, weights: Path, config: VllmConfig = DEFAULTS, *, precision: Literal["bf16", "fp32"], max_context: int
    ) -> None:
        if VllmEngine._alive:
            raise EngineError("a vllm engine is already alive", where="this process", do="close it first")
        for key, value in ENVIRONMENT.items():
            os.environ.setdefault(key, value)
        logging.getLogger("vllm").setLevel(logging.ERROR)  # vLLM reads its own setting too late
        import torch

        gpu = torch.cuda.is_available()
        if config.gpu_memory is not None and not gpu:
            raise ConfigError("engine.gpu_memory cannot be honoured: there is no GPU", where="--set", do="leave it out")
        self.version = _version()
        self.precision, self.max_context, self._waves = precision, max_context, config.waves
        self._architecture = architecture(weights)
        self._flags: dict[str, Any] = {
            "dtype": {"bf16": "bfloat16", "fp32": "float32"}[precision],
            "max_model_len": max_context,
            "enable_prefix_caching": True,
            "enforce_eager": not gpu,
            "max_num_seqs": config.max_num_seqs,
            "tensor_parallel_size": config.tensor_parallel,
            "logprobs_mode": "raw_logprobs",
            "seed": 0,
        }
        if gpu:
            self._flags["gpu_memory_utilization"] = config.gpu_memory or GPU_SHARE
        else:
            # Only whole blocks are kept; the rest of a prefix is computed again at every step of an episode. On a
            # CPU, vLLM's default block has 128 tokens, and its smallest has 32.
            self._flags["block_size"] = 32
            # For a prompt in two parts, vLLM draws a token that it discards, and then rewinds the seed's generator.
            # Its CPU build cannot rewind and crashes, so prompts stay whole.
            self._flags["enable_chunked_prefill"] = False
        self._start(weights)

    def _start(self, weights: Path) -> None:
        import torch

        with _quiet():
            import vllm

        threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
        try:
            with _quiet():
                self._llm: Any = vllm.LLM(
                    model=str(weights),
                    skip_tokenizer_init=True,
                    disable_log_stats=True,
                    use_tqdm_on_load=False,
                    **self._flags,
                )
                self._llm.apply_model(restore_classes)
                self._has_experts = any(self._llm.apply_model(_has_experts))
        except Exception as error:
            raise EngineError(
                f"vllm does not start: {type(error).__name__}: {error}",
                where=str(weights),
                do="see `shiqbench doctor`, or use --engine transformers",
            ) from error
        finally:
            torch.set_num_threads(threads)
            os.sched_setaffinity(0, cores)
        self._weights = weights
        VllmEngine._alive = True

    def load(self, weights: Path) -> None:
        """Reload weights and drop every cached prefix; an engine of a mixture of experts is built again.

        Raises:
            ConfigError: The folder's model has another architecture.
            EngineError: vLLM could not reload, or its prefix cache could not be reset.
        """
        theirs, ours = architecture(weights), self._architecture
        if changed := sorted(n for n in {*theirs, *ours} if theirs.get(n) != ours.get(n)):
            raise ConfigError(
                f"another architecture than the running engine's: {', '.join(changed)}",
                where=str(weights),
                do="close the engine and build a new one",
            )
        if self._has_experts:
            self.close()
            self._start(weights)
            return
        try:
            with _quiet():
                self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(weights)})
                self._llm.apply_model(_repack_tied_head)
                forgotten = self._llm.reset_prefix_cache()
        except Exception as error:
            raise EngineError(
                f"vllm cannot reload: {type(error).__name__}: {error}", where=str(weights), do="run again"
            ) from error
        if not forgotten:
            raise EngineError("vllm kept the old weights' prefix cache", where=str(weights), do="run again")
        self._weights = weights

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """Complete every prompt; all of them run together."""
        outputs = self._run(prompts, [_parameters(sampling, i) for i in range(len(prompts))])
        found = [_completion(output, sampling) for output in outputs]
        check_finite([c.logprobs for c in found], self._weights)
        return found

    def stream(self) -> VllmStream | None:
        """Open a stream; None if the settings ask for waves."""
        return None if self._waves else VllmStream(self._llm.llm_engine, self._flags["max_num_seqs"], self._weights)

    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probability of each token given those before it; the first token's is 0."""
        from vllm import SamplingParams

        parameters = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        found = [
            [0.0, *(float(d[t].logprob) for t, d in zip(s[1:], o.prompt_logprobs[1:], strict=True))]
            for s, o in zip(sequences, self._run(sequences, parameters), strict=True)
        ]
        check_finite(found, self._weights)
        return found

    def _run(self, prompts: Sequence[Sequence[int]], parameters: Any) -> Any:
        if not prompts:
            return []
        with _failures("generation"):
            return self._llm.generate([{"prompt_token_ids": list(p)} for p in prompts], parameters, use_tqdm=False)

    def describe(self) -> dict[str, Any]:
        """Flags and version, for the manifest."""
        environment = {k: os.environ.get(k) for k in ENVIRONMENT}
        return {
            "engine": self.name,
            "version": self.version,
            "flags": self._flags,
            "environment": environment,
        }

    def close(self) -> None:
        """Shut the engine down and free its memory."""
        import gc

        if not VllmEngine._alive:
            return
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        VllmEngine._alive = False
        gc.collect()
        _leave_distributed()


class VllmStream:
    """Requests of a vLLM engine that is run step by step.

    A step's batch depends only on what was asked before, so the same questions give the same batches.

    Args:
        engine: vLLM's own engine.
        slots: Number of sequences that it computes together.
        weights: Model folder, for errors.
    """

    def __init__(self, engine: Any, slots: int, weights: Path) -> None:
        self._engine, self.slots, self._weights = engine, slots, weights
        self._open: dict[str, tuple[int, Sampling]] = {}
        self._asked = 0

    def add(self, key: int, prompt: Sequence[int], sampling: Sampling) -> None:
        """Add a prompt; the engine begins with it at its next step."""
        from vllm.sampling_params import RequestOutputKind

        parameters = _parameters(sampling, 0)
        parameters.output_kind = RequestOutputKind.FINAL_ONLY
        name = f"stream-{self._asked}"
        self._asked += 1
        with _failures("adding a prompt"):
            self._engine.add_request(name, {"prompt_token_ids": list(prompt)}, parameters)
        self._open[name] = key, sampling

    def take(self) -> list[tuple[int, Completion]]:
        """Run steps until a prompt is complete."""
        found: list[tuple[int, Completion]] = []
        while self._open and not found:
            with _failures("generation"):
                outputs = self._engine.step()
            for output in outputs:
                if output.finished:
                    key, sampling = self._open.pop(output.request_id)
                    found.append((key, _completion(output, sampling)))
        check_finite([c.logprobs for _, c in found], self._weights)
        return found

    def close(self) -> None:
        """Take the open prompts out of the engine."""
        if self._open:
            with _failures("ending"):
                self._engine.abort_request(list(self._open))
            self._open.clear()


def _parameters(sampling: Sampling, index: int) -> Any:
    from vllm import SamplingParams

    return SamplingParams(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed_of(index),
        stop_token_ids=list(sampling.stop_token_ids),
        ignore_eos=True,
        logprobs=0,
        detokenize=False,
    )


def _completion(output: Any, sampling: Sampling) -> Completion:
    sampled = output.outputs[0]
    ids = tuple(sampled.token_ids)
    logprobs = tuple(float(d[t].logprob) for t, d in zip(ids, sampled.logprobs, strict=True))
    return Completion(ids, logprobs, bool(ids) and ids[-1] in sampling.stop_token_ids)


@contextmanager
def _failures(where: str) -> Iterator[None]:
    """Make an engine error of what vLLM raises."""
    try:
        with _quiet():
            yield
    except Exception as error:
        raise EngineError(f"vllm failed: {type(error).__name__}: {error}", where=where, do="run again") from error


def _repack_tied_head(model: Any) -> None:
    """Pack the vocabulary head again if it shares the embedding's weights.

    On a CPU, vLLM keeps a packed copy of the head. A checkpoint with tied weights does not name the head, so the
    reload skips it, and the copy still has the old weights.
    """
    head = getattr(model, "lm_head", None)
    if head is not None and getattr(model.config, "tie_word_embeddings", False):
        head.quant_method.process_weights_after_loading(head)


def _has_experts(model: Any) -> bool:
    """Whether a model is a mixture of experts.

    When vLLM 0.32 reloads such weights on a CPU, it goes on with a part of the old ones; on a GPU this was not tried.
    """
    from vllm.model_executor.layers.fused_moe import RoutedExperts

    return any(isinstance(module, RoutedExperts) for module in model.modules())


def _leave_distributed() -> None:
    """Leave the process group of one that vLLM joins, so that training can make its own."""
    with _quiet():
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        cleanup_dist_env_and_memory()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide deprecation warnings inside vLLM; they are for its authors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _version() -> str:
    for name in ("vllm-cpu", "vllm"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    raise EngineError("vllm has no version", where="packages", do="reinstall it")
