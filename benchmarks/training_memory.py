"""The memory estimate of a training against its measured peak: random models of three sizes, each in a fresh process.

python benchmarks/training_memory.py [--size NAME]

The peak is that of the resident memory, above what the process had after it trained a tiny model: then all code that
training uses is in memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from shiqbench.base.memory import keeping_freed_memory
from shiqbench.episodes.episode import Episode
from shiqbench.episodes.rendering import Rendered, TokenSequence
from shiqbench.plugin.batch import EpisodeUnit
from shiqbench.plugin.config import TrainConfig
from shiqbench.plugin.registry import registry

MEMORY = Path("/proc/self")  # Linux
SIZES: dict[str, dict[str, int]] = {
    "9M": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "vocab_size": 8192},
    "21M": {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8, "vocab_size": 12288},
    "48M": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 10, "vocab_size": 20480},
}
TINY = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 2048}
SETTINGS: dict[str, dict[str, Any]] = {
    "all weights, fp32": {"precision": "fp32"},
    "all weights, bf16": {"precision": "bf16"},
    "LoRA on bf16 weights, checkpointing": {"lora_rank": 16, "base_weights": "bf16", "checkpointing": True},
}


def write_model(folder: Path, sizes: dict[str, int]) -> Path:
    """Write a Llama with random weights in bf16, as most models are published."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = LlamaConfig(**sizes, num_attention_heads=8, num_key_value_heads=4)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def config_of(settings: dict[str, Any]) -> TrainConfig:
    """Two updates of two passes; two pairs of texts fill a pass."""
    return TrainConfig.model_validate({"updates": 2, "batch_episodes": 8, "micro_tokens": 1024, **settings})


def episodes(config: TrainConfig, vocabulary: int) -> list[Rendered]:
    """Pairs of texts that have the first quarter in common; the rest are action tokens."""
    length, found = config.micro_tokens // 4, []
    for i in range(config.batch_episodes):
        prompt = [(7 * (i // 2) + j) % vocabulary for j in range(length // 4)]
        ids = (*prompt, *((11 * i + 3 * j) % vocabulary for j in range(length - len(prompt))))
        actions = tuple(range(len(prompt), length))
        rewards = (*[0.0] * (len(actions) - 1), float(i % 2 == 0))
        found.append(Rendered(Episode(str(i), str(i // 2), "made", ()), (TokenSequence(ids, actions),), rewards, None))
    return found


def train(folder: Path, config: TrainConfig) -> None:
    """Train a model with DPO, from loading it to the last update."""
    from shiqbench.training.loop import Trainer, plan_training
    from shiqbench.training.policy import Policy, load_model
    from shiqbench.training.reference import ReferenceCache

    spec = registry().algorithm("dpo")
    algorithm = spec.load()(spec.load_config()())
    rendered = episodes(config, json.loads((folder / "config.json").read_text())["vocab_size"])
    units = [EpisodeUnit((i, i + 1)) for i in range(0, len(rendered), 2)]
    plan = plan_training(units, rendered, config, algorithm.group_size, 0)
    with keeping_freed_memory(), tempfile.TemporaryDirectory() as place:
        policy = Policy(load_model(folder, config), config, algorithm.needs)
        reference = ReferenceCache(Path(place), "made", policy)
        reference.fill(rendered, lambda done, total: None)
        Trainer(policy, algorithm, rendered, reference.row, plan, config, 0, Path(place)).run(lambda line, total: None)


def resident(name: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process, in bytes."""
    lines = (MEMORY / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def measure(folder: Path, settings: dict[str, Any]) -> int:
    """Train in this process, and return the peak of its resident memory above that before, in bytes."""
    config = config_of(settings)
    with tempfile.TemporaryDirectory() as tiny:
        train(write_model(Path(tiny), TINY), config)
    gc.collect()
    before = resident("VmRSS")
    (MEMORY / "clear_refs").write_text("5")  # the peak starts again
    train(folder, config)
    return resident("VmHWM") - before


def compare(folder: Path, settings: dict[str, Any]) -> tuple[int, int]:
    """The estimated and the measured peak in bytes; the latter is from a process of its own."""
    from shiqbench.models.loading import without_weights
    from shiqbench.training.memory import training_memory

    words = [sys.executable, __file__, "--measure", str(folder), "--settings", json.dumps(settings)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    if done.returncode:
        raise RuntimeError(done.stderr)
    return training_memory(without_weights(folder), config_of(settings)).total, int(done.stdout)


def main() -> None:
    """Print a row for each size and setting, or a single measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        sys.stdout.write(str(measure(given.measure, given.settings)))
        return
    sys.stdout.write("| model | training | estimate, MB | measured, MB | difference |\n|---|---|---|---|---|\n")
    for size in [given.size] if given.size else SIZES:
        with tempfile.TemporaryDirectory() as place:
            folder = write_model(Path(place), SIZES[size])
            for name, settings in SETTINGS.items():
                estimate, measured = compare(folder, settings)
                numbers = f"{estimate / 1e6:.0f} | {measured / 1e6:.0f} | {estimate / measured - 1:+.0%}"
                sys.stdout.write(f"| {size} | {name} | {numbers} |\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
