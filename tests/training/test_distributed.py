"""Two processes train what one does: gradients, heads, and the mean over mismatched completions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import warm
from tiny_training import Lines, needy, trainer, weights


def train(algorithm: str, model: str, output: str) -> None:
    """Train a few updates, as one of several processes if a launcher started this one."""
    folder = Path(output) / os.environ.get("RANK", "alone")
    t = trainer(Path(model), folder, needy(algorithm), double=True, updates=3, batch_episodes=6)
    seen = Lines()
    t.run(seen)
    lines = [{k: v for k, v in x.items() if k != "seconds"} for x in seen.lines]
    torch.save({"weights": weights(t), "lines": lines}, folder / "result.pt")


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["critic", "contrast"])
def test_two_processes_equal_one(tiny_model: Path, tmp_path: Path, algorithm: str) -> None:
    arguments = (algorithm, str(tiny_model), str(tmp_path))
    for process in (warm.call(train, *arguments), warm.launch_call(train, *arguments)):
        done = process.finish()
        assert done.returncode == 0, done.stderr
    alone, *two = [torch.load(tmp_path / name / "result.pt") for name in ("alone", "0", "1")]
    for each in two:
        for name, x in alone["weights"].items():
            torch.testing.assert_close(each["weights"][name], x, atol=1e-12, rtol=0)
        for a, b in zip(alone["lines"], each["lines"], strict=True):
            assert a == pytest.approx(b, rel=1e-9, abs=1e-12)
