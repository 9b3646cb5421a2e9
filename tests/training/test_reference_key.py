"""What tells two entries of the reference's cache apart, and what damage it notices."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import torch

from shiqbench.base.errors import CorruptCellError
from shiqbench.episodes.episode import Episode
from shiqbench.episodes.rendering import Rendered, TokenSequence
from shiqbench.plugin.config import TrainConfig
from shiqbench.training.policy import Policy, pretrained
from shiqbench.training.reference import ReferenceCache

IDS = (5, 9, 12, 7, 30)
PLAIN = {"precision": "fp32", "share_prefix": False}
BF16 = {**PLAIN, "precision": "bf16"}


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> torch.nn.Module:
    return pretrained(tiny_model)


def cache(folder: Path, model: torch.nn.Module, weights: str = "w", **settings: Any) -> ReferenceCache:
    return ReferenceCache(folder, weights, Policy(model, TrainConfig.model_validate({**PLAIN, **settings})))


def acting(*actions: int) -> Rendered:
    return Rendered(Episode("e", "g", "b", ()), (TokenSequence(IDS, actions),), (0.0,) * len(actions), None)


def filled(folder: Path, model: torch.nn.Module) -> ReferenceCache:
    found = cache(folder, model)
    found.fill([acting(1, 2), acting(3, 4)], lambda done, total: None)
    return found


def test_what_changes_the_statistics_has_a_file_of_its_own(tmp_path: Path, model: torch.nn.Module) -> None:
    settings: list[dict[str, Any]] = [
        PLAIN,
        {**PLAIN, "weights": "other"},
        {**PLAIN, "share_prefix": True},
        {**BF16, "micro_tokens": 100},
        {**BF16, "micro_tokens": 200},  # a pass in bf16 rounds by its shape
    ]
    paths = [cache(tmp_path, model, **s).path for s in settings]
    assert len(set(paths)) == len(paths)
    assert cache(tmp_path, model, micro_tokens=100).path == cache(tmp_path, model, micro_tokens=200).path == paths[0]
    assert cache(tmp_path, model, lr=1.0, updates=3, batch_episodes=2).path == paths[0]


def test_the_same_tokens_with_other_actions_are_another_row(tmp_path: Path, model: torch.nn.Module) -> None:
    found = filled(tmp_path, model)
    for rendered in (acting(1, 2), acting(3, 4)):
        with torch.no_grad():
            (wanted,) = found.policy(rendered.sequences)
        row = found.row(rendered)
        torch.testing.assert_close((row.logit_N, row.lse_N), (wanted.logit_N, wanted.lse_N))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("UPDATE statistics SET logit = lse", "a row is not what was written"),
        ("DELETE FROM statistics WHERE key = (SELECT min(key) FROM statistics)", "the number of rows is wrong by 1"),
        ("DELETE FROM statistics", "the number of rows is wrong by 2"),
    ],
)
def test_rows_that_changed_or_went_are_noticed(tmp_path: Path, model: torch.nn.Module, harm: str, said: str) -> None:
    found = filled(tmp_path, model)
    found.close()
    database = sqlite3.connect(found.path)
    with database:
        database.execute(harm)
    database.close()
    with pytest.raises(CorruptCellError, match=said):
        cache(tmp_path, model)


@pytest.mark.parametrize("change", [3.0, float("nan")])
def test_a_whole_row_of_another_model_is_noticed_before_it_is_used(
    tmp_path: Path, tiny_model: Path, change: float
) -> None:
    model = pretrained(tiny_model)
    filled(tmp_path, model).close()
    untouched = cache(tmp_path, model)
    assert untouched.fill([acting(1, 2)], lambda done, total: None) == (0, 1)
    assert untouched.difference is not None
    assert untouched.difference < 1e-5
    with torch.no_grad():
        model.get_output_embeddings().weight[IDS[1]] *= change  # type: ignore[operator]
    with pytest.raises(
        CorruptCellError, match=r"a row differs by .* from what the model computes now.*delete that file"
    ):
        cache(tmp_path, model).fill([acting(1, 2)], lambda done, total: None)
