"""Train a few updates as one of several processes: ``distributed.py ALGORITHM MODEL OUTPUT``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from tiny_training import Lines, needy, trainer, weights


def main(algorithm: str, model: str, output: str) -> None:
    folder = Path(output) / os.environ.get("RANK", "alone")
    t = trainer(Path(model), folder, needy(algorithm), double=True, updates=3, batch_episodes=6)
    seen = Lines()
    t.run(seen)
    lines = [{k: v for k, v in x.items() if k != "seconds"} for x in seen.lines]
    torch.save({"weights": weights(t), "lines": lines}, folder / "result.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
