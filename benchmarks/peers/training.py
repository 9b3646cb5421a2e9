"""Training speed and memory compared with TRL: the same model, texts, batches, precision and optimiser.

    python benchmarks/peers/training.py                              # sft and dpo of the embedded model
    python benchmarks/peers/training.py --pairs 4 --repeats 1        # a quick look
    python benchmarks/peers/training.py --data FOLDER --json found.json    # pairs of real preference data

Both train on the same token ids in the same order, with AdamW at a constant learning rate. Each run is a process of its
own, and the two alternate. TRL has its fastest settings: no recomputed activations, and for dpo the reference's
log-probabilities computed once (``precomputed``) and its default (``online``). Losses are compared step by step:
equal losses mean that both did the same work. TRL is a pinned wheel on top of the packages that are installed here.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.base.machine import bf16_is_slow, has_gpu

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

LENGTHS = (150, 512)  # tokens of a text, evenly spread
LR = 1e-5
BETA = 0.1
BATCH = 2  # pairs


@dataclass(frozen=True)
class Work:
    """What both sides train on.

    Attributes:
        model: Folder of the model.
        algorithm: ``sft`` or ``dpo``.
        precision: Of the body.
        steps: For each update its pairs: prompt, chosen and rejected ids.
        train: Further training settings, which only our side takes.
    """

    model: str
    algorithm: str
    precision: str
    steps: list[list[tuple[list[int], list[int], list[int]]]]
    train: dict[str, Any] = field(default_factory=dict)


def pairs(model: Path, count: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Prompt, chosen and rejected ids: a topic of Python's help, its text, and another topic's text."""
    from pydoc_data.topics import topics

    from shiqbench.episodes.episode import Episode, Message
    from shiqbench.episodes.rendering import Renderer

    renderer = Renderer(model)
    texts = sorted((name, text) for name, text in topics.items() if len(text) > 4 * LENGTHS[1])
    found = []
    for i in range(count):
        name, right = texts[i % len(texts)]
        _, wrong = texts[(i + 7) % len(texts)]
        tokens = LENGTHS[0] + (LENGTHS[1] - LENGTHS[0]) * i // max(1, count - 1)
        asked = Message("user", f"Explain {name} in Python.")
        sides = []
        for text in (right, wrong):
            said = Message("assistant", text[: 3 * tokens], action=True)
            (sequence,) = renderer.render(Episode(f"{i}", f"{i}", "given", (asked, said))).sequences
            first = sequence.actions[0]
            # The last id ends the answer; what is cut from a long text lies before it.
            ids = [*sequence.ids[: min(sequence.actions[-1], tokens - 1)], sequence.ids[sequence.actions[-1]]]
            sides.append((ids[:first], ids[first:]))
        (prompt, chosen), (same, rejected) = sides
        assert prompt == same
        found.append((prompt, chosen, rejected))
    return found


def pairs_of(data: str, model: Path, count: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Prompt, chosen and rejected ids: the best and worst answers to the first prompts that are within ``LENGTHS``."""
    from collections import defaultdict

    from shiqbench.episodes.rendering import Renderer
    from shiqbench.plugin.registry import registry

    spec = registry().task("ultrafeedback")
    task = spec.load()(spec.load_config()(data=data))
    task.fetch()
    renderer = Renderer(model)
    groups = defaultdict(list)
    for episode in task.episodes("train"):
        groups[episode.group].append(episode)
    found = []
    for episodes in groups.values():
        episodes.sort(key=lambda episode: episode.total_reward)
        sides = [renderer.render(episode).sequences[0] for episode in (episodes[-1], episodes[0])]
        first = sides[0].actions[0]
        if all(LENGTHS[0] <= len(side.ids) <= LENGTHS[1] and side.actions[0] == first for side in sides):
            chosen, rejected = (list(side.ids) for side in sides)
            found.append((chosen[:first], chosen[first:], rejected[first:]))
        if len(found) == count:
            return found
    raise SystemExit(f"{data}: {len(found)} of {count} pairs have {LENGTHS[0]} to {LENGTHS[1]} tokens; lower --pairs")


def ours(work: Work, folder: Path) -> dict[str, Any]:
    """Train with shiqbench; seconds include the reference's pass, and ``parts`` say where they went."""
    import torch

    from shiqbench.episodes.episode import Episode, Message
    from shiqbench.episodes.rendering import Rendered, TokenSequence
    from shiqbench.plugin.batch import EpisodeUnit
    from shiqbench.plugin.config import TrainConfig
    from shiqbench.plugin.registry import registry
    from shiqbench.training.frozen_layers import keep_frozen
    from shiqbench.training.loop import Trainer, TrainingPlan
    from shiqbench.training.policy import Policy, load_model
    from shiqbench.training.reference import ReferenceCache, not_computed

    spec = registry(()).algorithm(work.algorithm)
    algorithm = spec.load()(spec.load_config()(**({"beta": BETA} if work.algorithm == "dpo" else {})))
    rendered: list[Rendered] = []
    batches = []
    for step in work.steps:
        units = []
        for prompt, chosen, rejected in step:
            rows = []
            for answer, reward in ((chosen, 1.0), (rejected, 0.0))[: 2 if work.algorithm == "dpo" else 1]:
                rows.append(len(rendered))
                actions = tuple(range(len(prompt), len(prompt) + len(answer)))
                said = (Message("assistant", "", action=True, reward=reward),)
                rewards = (*[0.0] * (len(answer) - 1), reward)
                sequence = TokenSequence((*prompt, *answer), actions)
                episode = Episode(str(rows[-1]), str(rows[0]), "given", said)
                rendered.append(Rendered(episode, (sequence,), rewards, None))
            units.append(EpisodeUnit(tuple(rows)))
        batches.append(tuple(units))
    tokens = tuple(sum(rendered[r].tokens for u in b for r in u.rows) for b in batches)
    plan = TrainingPlan(tuple(batches), tokens, tuple(range(len(rendered))))
    config = TrainConfig(
        updates=len(batches),
        batch_episodes=BATCH * algorithm.group_size,
        micro_tokens=4096,
        lr=LR,
        schedule="constant",
        warmup=0.0,
        precision=work.precision,  # type: ignore[arg-type]
        save_every=10_000,
        **work.train,
    )
    policy = Policy(load_model(Path(work.model), config), config, algorithm.needs)
    policy.to("cuda" if torch.cuda.is_available() else "cpu")
    started = time.perf_counter()
    clock = policy.clock
    with clock.part("frozen layers", whole=True):
        keep_frozen(policy, [s for r in rendered for s in r.sequences])
    reference = not_computed
    if algorithm.uses_reference:
        cache = ReferenceCache(folder / "reference", "none", policy)
        with clock.part("reference", whole=True):
            cache.fill(rendered, lambda done, total: None)
        reference = cache.row
    trainer = Trainer(policy, algorithm, rendered, reference, plan, config, 0, folder)
    lines: list[dict[str, Any]] = []
    trainer.run(lambda line, total: lines.append(line))
    losses = [line["loss"] for line in lines]
    return {"seconds": time.perf_counter() - started, "losses": losses, "parts": dict(clock.seconds)}


def trl(work: Work, folder: Path, *, online: bool = False) -> dict[str, Any]:
    """Train with TRL on the same ids; seconds include the reference's pass."""
    from families import TRL

    from shiqbench.base.wheels import fetch

    sys.path.insert(0, str(fetch(TRL)))
    import torch
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer

    flat = [pair for step in work.steps for pair in step]
    common: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": BATCH,
        "num_train_epochs": 1,
        "learning_rate": LR,
        "lr_scheduler_type": "constant",
        "adam_beta2": 0.95,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "gradient_checkpointing": False,
        "bf16": work.precision == "bf16",
        "use_cpu": not torch.cuda.is_available(),
        "disable_tqdm": True,
        "max_length": None,
        "dataloader_pin_memory": False,
    }
    model = AutoModelForCausalLM.from_pretrained(work.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(work.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    trainer: Any
    if work.algorithm == "dpo":
        from trl import DPOConfig, DPOTrainer  # type: ignore[import-not-found]

        class Dpo(DPOTrainer):  # type: ignore[misc]
            """Takes ids as they are, in their order."""

            def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
                return dataset

            def _get_train_sampler(self, *_: Any) -> Any:
                return SequentialSampler(self.train_dataset)

        data = Dataset.from_list([{"prompt_ids": p, "chosen_ids": c, "rejected_ids": r} for p, c, r in flat])
        config = DPOConfig(**common, beta=BETA, precompute_ref_log_probs=not online)
        started = time.perf_counter()
        trainer = Dpo(model, args=config, train_dataset=data, processing_class=tokenizer)
    else:
        from trl import SFTConfig, SFTTrainer

        class Sft(SFTTrainer):  # type: ignore[misc]
            """Takes ids in their order."""

            def _get_train_sampler(self, *_: Any) -> Any:
                return SequentialSampler(self.train_dataset)

        data = Dataset.from_list([{"input_ids": [*p, *c], "labels": [*[-100] * len(p), *c]} for p, c, _ in flat])
        config = SFTConfig(**common, dataset_kwargs={"skip_prepare_dataset": True})
        started = time.perf_counter()
        trainer = Sft(model, args=config, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    took = time.perf_counter() - started
    return {"seconds": took, "losses": [line["loss"] for line in trainer.state.log_history if "loss" in line]}


SIDES: dict[str, Callable[[Work, Path], dict[str, Any]]] = {
    "shiqbench": ours,
    "TRL": trl,
    "TRL, online reference": lambda work, folder: trl(work, folder, online=True),
}


def run_child(script: str, case: str, work: Work) -> dict[str, Any]:
    """One run in a process of its own: what its ``--child`` prints, with its peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "work.json"
        file.write_text(json.dumps(asdict(work)))
        command = [sys.executable, script, "--child", case, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{case} failed on {work.algorithm}:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    sys.stderr.write(f"{case}: {found['seconds']:.1f} s\n")
    return found


def child(train: Callable[[Work, Path], dict[str, Any]], file: Path) -> None:
    """Print the result of one run as a line of JSON."""
    folder = file.parent / "folder"
    folder.mkdir()
    found = train(Work(**json.loads(file.read_text())), folder)
    found["gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sys.stdout.write(json.dumps(found) + "\n")


def main() -> None:
    """Run both sides in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder; the embedded model if left out")
    parser.add_argument("--algorithms", nargs="+", default=["sft", "dpo"])
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", help="as task.data of ultrafeedback; made pairs with short prompts if left out")
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="if left out: bf16 where it is fast")
    parser.add_argument("--json", type=Path, help="file for all measurements")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        side, file = options.child
        child(SIDES[side], Path(file))
        return
    from shiqbench.models.embedded import embedded_model

    model = options.model or embedded_model()
    precision = options.precision or ("fp32" if bf16_is_slow() and not has_gpu() else "bf16")
    found = pairs_of(options.data, model, options.pairs) if options.data else pairs(model, options.pairs)
    steps = [found[i : i + BATCH] for i in range(0, len(found), BATCH)]
    measured: dict[str, Any] = {}
    for algorithm in options.algorithms:
        work = Work(str(model), algorithm, precision, steps)
        sides = [s for s in SIDES if algorithm == "dpo" or "online" not in s]
        runs: dict[str, list[dict[str, Any]]] = {s: [] for s in sides}
        for _ in range(options.repeats):
            for side in sides:
                runs[side].append(run_child(__file__, side, work))
        measured[algorithm] = runs
        tell(algorithm, precision, runs)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")


def tell(algorithm: str, precision: str, runs: dict[str, list[dict[str, Any]]]) -> None:
    """Print a table that compares the sides."""
    mine = runs["shiqbench"]
    lines = ["", f"{algorithm} in {precision}, {len(mine)} runs of {len(mine[0]['losses'])} updates", ""]
    heads = [head.format("ours") for head in HEADS]
    lines += ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    lines += ["| " + " | ".join([side, *compared(theirs, mine)]) + " |" for side, theirs in runs.items()]
    sys.stdout.write("\n".join(lines) + "\n")


HEADS = ("seconds", "memory, GB", "seconds / {}", "memory / {}", "largest difference of a loss")


def compared(theirs: list[dict[str, Any]], mine: list[dict[str, Any]]) -> list[str]:
    """Cells of a row under ``HEADS``: medians, ratios of alternating runs with their intervals, and losses."""
    both = list(zip(theirs, mine, strict=True))
    apart = max(abs(a - b) for t, m in both for a, b in zip(t["losses"], m["losses"], strict=True))
    return [
        f"{statistics.median(t['seconds'] for t in theirs):.1f}",
        f"{statistics.median(t['gb'] for t in theirs):.1f}",
        _interval([t["seconds"] / m["seconds"] for t, m in both]),
        _interval([t["gb"] / m["gb"] for t, m in both]),
        f"{apart:.2g}",
    ]


def _interval(ratios: list[float]) -> str:
    """Mean and 95 % interval of ratios, over runs; only the mean for fewer than three runs."""
    from scipy.stats import t

    mean = statistics.fmean(ratios)
    if len(ratios) < 3 or max(ratios) == min(ratios):
        return f"{mean:.2f}"
    half = t.ppf(0.975, len(ratios) - 1) * statistics.stdev(ratios) / len(ratios) ** 0.5
    return f"{mean:.2f} [{mean - half:.2f}, {mean + half:.2f}]"


if __name__ == "__main__":
    main()
