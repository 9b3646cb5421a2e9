"""Episodes of bfcl_v3 that wait for each other's messages, against episodes that go on by themselves.

    python benchmarks/bfcl_waves.py [--model FOLDER] [--episodes 50] [--repeats 1] [--precision fp32] [--max-tokens 96]
        [--turns 1] [--only stream]

One engine, one model, the same scenarios and limits as the preset `cpu`, greedy; waves and stream take turns. Printed
are steps of the engine, CPU seconds, wall seconds, those inside the engine, and the number of equal transcripts.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.task import BfclTask

from shiqbench.engines.config import VllmConfig
from shiqbench.engines.vllm import VllmEngine
from shiqbench.episodes.generation import ChatGenerator
from shiqbench.episodes.rendering import Renderer
from shiqbench.models.embedded import embedded_model
from shiqbench.plugin.config import EvalConfig


class Counting:
    """A vLLM engine whose steps are counted."""

    def __init__(self, weights: Path, config: VllmConfig, evaluation: EvalConfig) -> None:
        assert evaluation.precision in ("bf16", "fp32")
        self.engine = VllmEngine(weights, config, precision=evaluation.precision, max_context=evaluation.max_context)
        self.steps, self.inside = 0, 0.0
        inner = self.engine._llm.llm_engine
        step = inner.step

        def counted() -> Any:
            self.steps += 1
            started = time.perf_counter()
            found = step()
            self.inside += time.perf_counter() - started
            return found

        inner.step = counted


def played(counting: Counting, weights: Path, task: BfclTask, config: EvalConfig) -> tuple[dict[str, float], list[str]]:
    """Steps, seconds, and the transcript of every episode."""
    counting.engine._llm.reset_prefix_cache()
    counting.steps, counting.inside = 0, 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    chat = ChatGenerator(counting.engine, Renderer(weights), config.max_context)
    records = task.evaluate(chat, config, lambda done, total: None)
    numbers = {
        "steps": counting.steps,
        "CPU s": time.process_time() - cpu,
        "s": time.perf_counter() - wall,
        "s inside the engine": counting.inside,
        "tokens": sum(r["tokens"] for r in records),
        "right turns": sum(r["right_turns"] for r in records),
    }
    return numbers, [r["transcript"] for r in records]


def main() -> None:
    """Print one row per way and turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--only", choices=["waves", "stream"], help="measure one of the two")
    given = parser.parse_args()
    weights = given.model or embedded_model()
    config = EvalConfig(
        engine="vllm",
        precision=given.precision,
        examples=given.episodes,
        repeats=given.repeats,
        max_steps=4,
        max_tokens=given.max_tokens,
        max_episode_tokens=512,
        max_context=4096,
    )
    task, found = BfclTask(BfclConfig()), dict[bool, list[str]]()
    counting = Counting(weights, VllmConfig(), config)
    for turn in range(given.turns):
        ways = (True, False) if turn % 2 == 0 else (False, True)
        for waves in ways if given.only is None else (given.only == "waves",):
            counting.engine._waves = waves
            numbers, found[waves] = played(counting, weights, task, config)
            words = ", ".join(f"{v:.0f} {k}" for k, v in numbers.items())
            sys.stdout.write(f"{'waves' if waves else 'stream'}: {words}\n")
            sys.stdout.flush()
    if given.only is None:
        same = sum(a == b for a, b in zip(found[True], found[False], strict=True))
        sys.stdout.write(f"same transcript: {same} of {len(found[True])}\n")
    counting.engine.close()


if __name__ == "__main__":
    main()
