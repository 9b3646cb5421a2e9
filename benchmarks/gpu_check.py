"""What one GPU can check: the tests marked gpu, then speed and peak memory of training, with and without each saving.

    python benchmarks/gpu_check.py                  # under eight minutes on one GPU of 80 GB
    python benchmarks/gpu_check.py --write          # puts the tables into benchmarks/RESULTS.md
    python benchmarks/gpu_check.py --trl            # adds TRL, from a pinned wheel
    python benchmarks/gpu_check.py --models tiny    # also without a GPU

Models have the sizes of Llama 3 and random weights, made on the device. Each row is a process of its own. Speed is that
of all updates but the first. The last column compares the operations of an update (4 N + 2 T for each token, with N
parameters of which T are trained; what is recomputed is not counted) with a large product in the same precision on the
same device.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import training_memory

from shiqbench.base.memory import keeping_freed_memory
from shiqbench.plugin.batch import EpisodeUnit
from shiqbench.plugin.config import TrainConfig
from shiqbench.plugin.registry import registry
from shiqbench.training.base_weights import as_base
from shiqbench.training.loop import Trainer, plan_training
from shiqbench.training.policy import Policy, trainable
from shiqbench.training.reference import ReferenceCache, not_computed

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
HEADING = "## On a GPU\n"
ALGORITHMS = ("sft", "dpo", "shiq")
LORA: dict[str, Any] = {"lora_rank": 16, "base_weights": "bf16", "checkpointing": True}
OFF: dict[str, dict[str, Any]] = {
    "activations kept": {"checkpointing": False},
    "prefixes not shared": {"share_prefix": False},
    "base weights in fp32": {"base_weights": "fp32"},
}


def sizes(hidden: int, inner: int, layers: int, heads: int, vocabulary: int) -> dict[str, int]:
    """Of a Llama."""
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 4,
        "vocab_size": vocabulary,
    }


MODELS: dict[str, tuple[dict[str, int], dict[str, Any]]] = {
    "1B": (sizes(2048, 8192, 16, 32, 128256), {"checkpointing": True}),
    "8B": (sizes(4096, 14336, 32, 32, 128256), LORA),
    "tiny": (sizes(128, 256, 4, 4, 4096), LORA),
}
UPDATES = 4
TOKENS = 4096  # of a forward pass; an update makes two


def device() -> str:
    """Where everything runs."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def product_speed(dtype: torch.dtype) -> float:
    """Operations per second of a large product on this device."""
    n = 8192 if device() == "cuda" else 1024
    a_NN = torch.randn(n, n, device=device(), dtype=dtype)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(4):
            a_NN @ a_NN
        if device() == "cuda":
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - started) / 4)
    return 2 * n**3 / best


def measure(name: str, algorithm_name: str, changes: dict[str, Any]) -> dict[str, float]:
    """Train a random model in this process.

    Returns:
        ``tokens_per_second`` and ``operations_per_second`` of all updates but the first, and ``peak_gb``.
    """
    from transformers import AutoModelForCausalLM, LlamaConfig

    shape, settings = MODELS[name]
    length = {"updates": UPDATES, "batch_episodes": 16, "micro_tokens": TOKENS, "save_every": 10_000}
    config = TrainConfig.model_validate({"precision": "bf16", **length, **settings, **changes})
    with torch.device(device()):
        dtype = torch.float32 if config.base_weights == "fp32" else torch.bfloat16
        model: Any = AutoModelForCausalLM.from_config(LlamaConfig(**shape), dtype=dtype)
    spec = registry().algorithm(algorithm_name)
    algorithm = spec.load()(spec.load_config()())
    policy = Policy(trainable(as_base(model, config.base_weights), config), config, algorithm.needs).to(device())
    rendered = training_memory.episodes(config, shape["vocab_size"])
    pairs = algorithm_name == "dpo"
    rows = range(0, len(rendered), 2 if pairs else 1)
    units = [EpisodeUnit((i, i + 1) if pairs else (i,)) for i in rows]
    plan = plan_training(units, rendered, config, algorithm.group_size, 0)
    lines: list[dict[str, Any]] = []
    with keeping_freed_memory(), tempfile.TemporaryDirectory() as place:
        reference = not_computed
        if algorithm.uses_reference:
            cache = ReferenceCache(Path(place), "made", policy)
            cache.fill(rendered, lambda done, total: None)
            reference = cache.row
        trainer = Trainer(policy, algorithm, rendered, reference, plan, config, 0, Path(place))
        trainer.run(lambda line, total: lines.append(line))
    tokens_per_second = sum(plan.tokens[1:]) / sum(line["seconds"] for line in lines[1:])
    count = policy.sizes()
    work = 4 * count["parameters"] + 2 * count["trained_parameters"]
    peak = torch.cuda.max_memory_allocated() if device() == "cuda" else training_memory.resident("VmHWM")
    product = product_speed(torch.bfloat16 if config.precision == "bf16" else torch.float32)
    share = tokens_per_second * work / product
    return {"tokens_per_second": tokens_per_second, "share": share, "peak_gb": peak / 1e9}


def run(*words: str, seconds: float) -> tuple[int, str]:
    """Exit status and output of a process; 124 if it took too long."""
    try:
        done = subprocess.run(  # noqa: S603 - words from below
            [sys.executable, *words], capture_output=True, text=True, check=False, timeout=seconds, cwd=HERE.parent
        )
    except subprocess.TimeoutExpired:
        return 124, f"more than {seconds:.0f} s"
    return done.returncode, done.stdout + done.stderr


def rows_of(name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Algorithm, what differs, and its settings: all algorithms as the preset has it, then dpo without each saving."""
    settings = MODELS[name][1]
    off = [("dpo", what, c) for what, c in OFF.items() if "share_prefix" in c or settings.keys() >= c.keys()]
    return [(a, "as in `full`" if "lora_rank" in settings else "all weights", {}) for a in ALGORITHMS] + off


def training_table(names: list[str], limit: float) -> str:
    """A row for each model, algorithm and setting; a row that cannot be measured says why."""
    lines = [
        "| model | algorithm | | tokens/s | share of a large product's speed | peak memory, GB |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        for algorithm, what, changes in rows_of(name):
            code, text = run(__file__, "--measure", name, algorithm, json.dumps(changes), seconds=limit)
            if code:
                lines.append(
                    f"| {name} | {algorithm} | {what} | not measured: {text.strip().splitlines()[-1]} | - | - |"
                )
                continue
            found = json.loads(text.splitlines()[-1])
            speed = f"{found['tokens_per_second']:,.0f} | {found['share']:.0%} | {found['peak_gb']:.2f}"
            lines.append(f"| {name} | {algorithm} | {what} | {speed} |")
            sys.stderr.write(lines[-1] + "\n")
    return "\n".join(lines)


def hardware() -> str:
    """Device and versions."""
    import transformers

    name = torch.cuda.get_device_name() if device() == "cuda" else "CPU, only to see that the check works"
    return f"{name}; torch {torch.__version__}, transformers {transformers.__version__}."


def write(section: str) -> None:
    """Put the section into the file of results, in the place of the old one."""
    before, _, after = RESULTS.read_text().partition(HEADING)
    _, mark, rest = after.partition("\n## ")
    RESULTS.write_text(before + HEADING + section + mark + rest)


def main() -> None:
    """Run the tests and print the table, or measure one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = device() == "cuda"
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["1B", "8B"] if gpu else ["tiny"])
    parser.add_argument("--trl", action="store_true", help="compare with TRL on the embedded model too")
    parser.add_argument("--write", action="store_true", help=f"write the section into {RESULTS.name}; needs a GPU")
    parser.add_argument("--limit", type=float, default=60, help="seconds for a row")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        name, algorithm, changes = given.measure
        sys.stdout.write(json.dumps(measure(name, algorithm, json.loads(changes))) + "\n")
        return
    if given.write and not gpu:
        parser.error("--write needs a GPU: the rows of a CPU are no results; leave it out")
    _, tests = run("-m", "pytest", "-m", "gpu", "-q", "tests", seconds=180)
    section = f"\n{hardware()} `pytest -m gpu`: {tests.strip().splitlines()[-1].strip('= ')}\n\n"
    section += training_table(given.models, given.limit) + "\n"
    if given.trl:
        _, peers = run("benchmarks/peers/training.py", "--repeats", "3", seconds=180)
        section += "\n" + peers
    sys.stdout.write(section)
    if given.write:
        write(section)


if __name__ == "__main__":
    main()
