"""Completions on each other's prompts: how they are joined, and their mean log-ratio in training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import TOY
from tiny_training import NEEDY, Lines, needy, trainer

import shiqbench
from shiqbench.base.errors import ConfigError
from shiqbench.episodes.episode import Episode
from shiqbench.episodes.rendering import Rendered, TokenSequence
from shiqbench.plugin.batch import EpisodeUnit
from shiqbench.plugin.config import TrainConfig
from shiqbench.running.train_cell import _check_lengths
from shiqbench.training.mismatched import mismatched
from shiqbench.training.policy import row_statistics


def row(name: str, *sequences: tuple[tuple[int, ...], tuple[int, ...]]) -> Rendered:
    rewards = tuple(1.0 for _, actions in sequences for _ in actions)
    episode = Episode(name, name[0], "b", ())
    return Rendered(episode, tuple(TokenSequence(ids, actions) for ids, actions in sequences), rewards, None)


A1 = row("a1", ((10, 11, 1, 2), (2, 3)))
A2 = row("a2", ((10, 11, 3, 90, 4), (2, 4)))  # 90 is the environment's
B1 = row("b1", ((20, 5), (1,)))
B2 = row("b2", ((20, 6, 7), (1, 2)), ((99, 8), (1,)))
ALONE = [EpisodeUnit((i,)) for i in range(4)]


def joined(*rows: Rendered) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(s.ids, s.actions) for m in mismatched(ALONE[: len(rows)], rows) for s in m.rendered.sequences]


def test_each_prompt_goes_with_the_next_completion() -> None:
    assert joined(A2, B2) == [((10, 11, 6, 7), (2, 3)), ((20, 3, 90, 4), (1, 3))]
    assert joined(B1, A1, B2) == [
        ((20, 1, 2), (1, 2)),
        ((10, 11, 6, 7), (2, 3)),
        ((20, 5), (1,)),  # an odd number of rows leaves one with its own prompt
    ]


def test_the_shift_avoids_equal_prompts_where_it_can() -> None:
    assert joined(A1, A2, B1, B2) == [
        ((10, 11, 5), (2,)),
        ((10, 11, 6, 7), (2, 3)),
        ((20, 1, 2), (1, 2)),
        ((20, 3, 90, 4), (1, 3)),
    ]
    assert joined(A1, A2) == [((10, 11, 3, 90, 4), (2, 4)), ((10, 11, 1, 2), (2, 3))]


def test_rows_of_units_count_one_by_one_and_carry_no_reward() -> None:
    joined = mismatched([EpisodeUnit((0, 2), 0.25), EpisodeUnit((1, 3), 0.75)], [A1, A2, B1, B2])
    assert [m.weight for m in joined] == [0.25, 0.75, 0.75, 0.25]  # of the completion
    found = [m.rendered for m in joined]
    assert [len(r.sequences) for r in found] == [1, 1, 1, 1]
    assert {r.episode.id for r in found} == {
        "a1 with the completion of b1",
        "b1 with the completion of a2",
        "a2 with the completion of b2",
        "b2 with the completion of a1",
    }
    assert all(set(r.rewards) == {0.0} and r.behaviour_logp is None for r in found)


def test_training_measures_them_before_each_update(tiny_model: Path, tmp_path: Path) -> None:
    t = trainer(tiny_model, tmp_path / "a", needy("contrast"), updates=3, micro_tokens=1)
    seen = Lines()
    wanted = []
    for index in range(3):
        members = [m.rendered for m in mismatched(t.plan.batches[index], t.rendered)]
        with torch.no_grad():
            rows = row_statistics(t.policy, members)
        pairs = zip(rows, map(t.reference, members), strict=True)
        wanted.append(sum(float(((p.logit_N - p.lse_N) - (r.logit_N - r.lse_N)).sum()) for p, r in pairs) / 4)
        seen.lines.append(t._update(index))
    assert [x["z"] for x in seen.lines] == pytest.approx(wanted, abs=1e-4)
    assert wanted[0] == pytest.approx(0, abs=1e-4)
    assert abs(wanted[2]) > 1e-2


def test_an_update_of_one_episode_is_refused(tiny_model: Path, tmp_path: Path, own_cache: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_episodes"):
        shiqbench.run(
            "contrast",
            "toy",
            model=str(tiny_model),
            results=tmp_path,
            plugins=(TOY, NEEDY),
            set={"train.batch_episodes": 1},
        )


def test_a_joined_episode_that_is_too_long_is_refused() -> None:
    long_prompt, long_completion = row("c", (tuple(range(9)), (8,))), row("d", ((1, *range(8)), tuple(range(1, 9))))
    config = TrainConfig(max_tokens=9)
    _check_lengths([long_prompt, long_completion], config)
    with pytest.raises(ConfigError, match=r"c with the completion of d has 16 tokens"):
        _check_lengths([m.rendered for m in mismatched(ALONE[:2], [long_prompt, long_completion])], config)
