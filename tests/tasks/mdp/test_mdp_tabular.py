"""The batch made from tables, entry by entry."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mdp_support import Hungry, HungryConfig, mdp_task
from shiqbench_tasks.mdp.config import MdpTrainConfig
from shiqbench_tasks.mdp.train import TableTrainer


def hungry(size: int = 1, **settings: Any) -> TableTrainer:
    """A trainer whose tables are all random."""
    task = mdp_task(mdp="grid", horizon=6, reward="dense", reference="random", episodes=40, completions=9, **settings)
    trainer = task.trainer(Hungry(HungryConfig(size=size)), MdpTrainConfig(batch_episodes=None if size == 1 else 24), 0)
    generator = torch.Generator().manual_seed(1)
    tables = trainer.tables.tensors()
    trainer.tables.load({k: torch.randn(v.shape, dtype=v.dtype, generator=generator) for k, v in tables.items()})
    return trainer


def test_every_entry_is_its_tables() -> None:
    trainer = hungry()
    batch, data, tables, mdp = trainer.batch(), trainer.data, trainer.tables.tensors(), trainer.mdp
    assert batch.valid_EA.shape == (4 * 40, 6)
    assert not batch.valid_EA.all()
    logp = tables["logits"].log_softmax(-1)
    kl = (logp.exp() * (logp - mdp.ref_logp_SNA)).sum(-1)
    assert batch.token_q is not None
    for row in range(0, 160, 7):
        s, e = divmod(row, 40)
        for t in range(6):
            at, action = (s, data.state_SEH[s, e, t]), data.action_SEH[s, e, t]
            expected = {
                "reward": (batch.reward_EA, mdp.reward_SNA[at][action]),
                "logit": (batch.logit_EA, tables["logits"][at][action]),
                "lse": (batch.lse_EA, tables["logits"][at].logsumexp(-1)),
                "ref_logit": (batch.ref_logit_EA, mdp.ref_logit_SNA[at][action]),
                "ref_lse": (batch.ref_lse_EA, mdp.ref_logit_SNA[at].logsumexp(-1)),
                "value": (batch.need("value_EA"), tables["values"][at]),
                "kl": (batch.need("kl_EA"), kl[at]),
                "q": (batch.token_q.q_EA, tables["q"][at][action]),
                "q_lse": (batch.token_q.lse_EA, tables["q"][at].logsumexp(-1)),
                "target": (batch.token_q.target_EA, tables["target_q"][at][action]),
                "behaviour": (batch.need("behaviour_logp_EA"), mdp.ref_logp_SNA[at][action]),
            }
            for name, (found, wanted) in expected.items():
                value = float(wanted.detach()) if data.valid_SEH[s, e, t] else 0.0
                assert float(found[row, t].detach()) == pytest.approx(value, abs=1e-12), (name, row, t)
    assert batch.unit_E.tolist() == list(range(160))


def test_gradients_reach_what_they_should_and_nothing_else() -> None:
    trainer = hungry()
    tables, batch = trainer.tables, trainer.batch()
    assert tables.value_SN is not None
    assert tables.q_SNA is not None
    batch.need("value_EA").sum().backward()  # type: ignore[no-untyped-call]
    assert tables.logit_SNA.grad is None
    assert tables.value_SN.grad is not None
    batch.need("kl_EA").sum().backward()  # type: ignore[no-untyped-call]
    assert tables.logit_SNA.grad is not None
    assert tables.q_SNA.grad is None
    assert batch.token_q is not None
    assert not batch.token_q.target_EA.requires_grad
    assert not batch.need("mismatched_E").requires_grad


def test_mismatched_is_the_weighted_mean_log_ratio_of_the_instance() -> None:
    trainer = hungry(size=3)
    batch = trainer.batch()
    mean = batch.logratio_EA.detach().sum(-1).view(4, 24).mean(-1)
    torch.testing.assert_close(batch.need("mismatched_E").view(4, 24), mean[:, None].expand(4, 24))
    exact = mdp_task(mdp="chain", horizon=3, reference="random")
    trainer = exact.trainer(Hungry(HungryConfig()), MdpTrainConfig(), 0)
    trainer.tables.logit_SNA.data.mul_(2)
    batch = trainer.batch()
    h = batch.logratio_EA.detach().sum(-1).view(4, 8)
    torch.testing.assert_close(batch.need("mismatched_E").view(4, 8)[:, 0], (trainer.data.weight_SE * h).sum(-1))


def test_reference_returns_are_the_same_for_every_row_of_an_instance() -> None:
    returns = hungry(size=3).batch().need("reference_return_EK").view(4, 24, 9)
    torch.testing.assert_close(returns, returns[:, :1].expand_as(returns), rtol=0, atol=0)
    assert not torch.equal(returns[0, 0], returns[1, 0])
    assert hungry(size=1).batch().unit_E.max() == 159
    assert hungry(size=3).batch().unit_E.tolist() == [u for u in range(32) for _ in range(3)]


def test_without_need_nothing_is_there_and_an_unused_reference_is_nan() -> None:
    from shiqbench_algorithms.sft import Sft, SftConfig

    batch = mdp_task().trainer(Sft(SftConfig()), MdpTrainConfig(), 0).batch()
    assert batch.ref_logit_EA.isnan().all()
    assert batch.ref_lse_EA.isnan().all()
    for name in ("value_EA", "kl_EA", "mismatched_E", "reference_return_EK"):
        assert getattr(batch, name) is None
    assert batch.token_q is None
