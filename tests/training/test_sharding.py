"""Two processes that divide the weights train what one process trains with whole weights."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import warm
from tiny_training import Lines, needy, trainer
from torch.distributed.tensor import DTensor

from shiqbench.training.loop import Trainer


def launched() -> bool:
    """Whether this process is one of several; opens their process group."""
    if "RANK" in os.environ:
        torch.distributed.init_process_group("gloo")
    return "RANK" in os.environ


def train(algorithm: str, model: str, output: str, settings: str) -> None:
    """Train a few updates; with sharded weights, as one of several processes, if a launcher started this one."""
    sharded = launched()
    folder = Path(output) / ("sharded" if sharded else "whole")
    folder.mkdir(exist_ok=True)
    t = trainer(Path(model), folder, needy(algorithm), double=True, sharded=sharded, **json.loads(settings))
    if sharded:
        for p in t.policy.parameters():
            assert isinstance(p, DTensor)
            assert p.to_local().numel() <= (p.numel() + 1) // 2 + p.shape[-1]
    seen = Lines()
    t.run(seen)
    lines = [{k: v for k, v in x.items() if k != "seconds"} for x in seen.lines]
    torch.save({"weights": t.state.trained(), "lines": lines}, folder / f"{os.environ.get('RANK', 'alone')}.pt")


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["critic", "contrast"])
@pytest.mark.parametrize(
    "settings",
    [
        {"micro_tokens": 90},  # a unit of one process needs other passes than that of another one
        {"micro_tokens": 1, "batch_episodes": 7},  # one process has one pass more
        {"share_prefix": False, "checkpointing": True},
        {"top_layers": 1},
    ],
    ids=str,
)
def test_two_processes_with_shards_equal_one(
    tiny_model: Path, tmp_path: Path, algorithm: str, settings: dict[str, Any]
) -> None:
    asked = json.dumps({"updates": 3, "batch_episodes": 6, **settings})
    arguments = (algorithm, str(tiny_model), str(tmp_path), asked)
    for process in (warm.call(train, *arguments), warm.launch_call(train, *arguments)):
        done = process.finish(100)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
    alone, main, other = [torch.load(tmp_path / x) for x in ("whole/alone.pt", "sharded/0.pt", "sharded/1.pt")]
    assert set(main["weights"]) == set(alone["weights"])
    assert not other["weights"]
    for name, x in alone["weights"].items():
        torch.testing.assert_close(main["weights"][name], x, atol=1e-12, rtol=0)
    for each in (main, other):
        for a, b in zip(alone["lines"], each["lines"], strict=True):
            assert a == pytest.approx(b, rel=1e-9, abs=1e-12)


def interrupt(model: str, output: str, settings: str) -> None:
    """Train without an interruption, and with one; the weights are the same, bit for bit."""
    launched()

    def made(name: str) -> Trainer:
        return trainer(Path(model), Path(output) / name, needy("critic"), sharded=True, **json.loads(settings))

    undisturbed, interrupted = made("undisturbed"), made("interrupted")
    undisturbed.run(Lines())
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(Lines(stop_after=3))
    torch.distributed.barrier()
    continued = made("interrupted")
    assert continued.done == 2
    continued.run(Lines())
    one, two = undisturbed.state.trained(), continued.state.trained()
    assert set(one) == set(two)
    assert all(torch.equal(x, two[name]) for name, x in one.items())
    assert bool(one) == (os.environ["RANK"] == "0")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"top_layers": 1, "precision": "bf16"}], ids=str)
def test_heads_and_frozen_layers_continue_bit_for_bit(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    done = warm.launch_call(interrupt, str(tiny_model), str(tmp_path), json.dumps(settings)).finish(100)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def some_updates(model: str, output: str, stop_after: str) -> None:
    """Train, and stop after some updates if there are so many."""
    launched()
    t = trainer(Path(model), Path(output) / "cell", needy("critic"), sharded=True, batch_episodes=6)
    seen = Lines(stop_after=int(stop_after))
    with suppress(KeyboardInterrupt):
        t.run(seen)
    lines = [{k: v for k, v in x.items() if k != "seconds"} for x in seen.lines]
    torch.save(lines, Path(output) / f"{os.environ['RANK']}.pt")


@pytest.mark.slow
def test_another_number_of_processes_continues(tiny_model: Path, tmp_path: Path) -> None:
    found = []
    for stop_after, processes in (("5", 3), ("100", 2)):
        words = (str(tiny_model), str(tmp_path), stop_after)
        done = warm.launch_call(some_updates, *words, processes=processes).finish(100)
        assert done.returncode == 0, done.stderr
        found.append(torch.load(tmp_path / "0.pt"))
    before, after = found
    assert [x["update"] for x in after] == [5, 6]
    assert after[0] == pytest.approx(before[4], rel=1e-5, abs=1e-6)  # the fifth update, by three and by two processes


def continue_damaged(model: str, output: str) -> None:
    """Interrupt a training, damage its state, and try to continue."""
    launched()
    folder = Path(output) / "cell"
    folder.mkdir(exist_ok=True)

    def made() -> Trainer:
        return trainer(Path(model), folder, needy("critic"), sharded=True, updates=6, save_every=2)

    with pytest.raises(KeyboardInterrupt):
        made().run(Lines(stop_after=5))
    torch.distributed.barrier()
    if os.environ["RANK"] == "0":
        (kept,) = (folder / "checkpoint").glob("shards-*")
        assert kept.name == "shards-000004"
        file = kept / "__1_0.distcp"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    torch.distributed.barrier()
    made()


@pytest.mark.slow
def test_damaged_parts_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    done = warm.launch_call(continue_damaged, str(tiny_model), str(tmp_path)).finish()
    assert done.returncode != 0
    assert "checkpoint/shards-000004/__1_0.distcp is damaged" in done.stderr
