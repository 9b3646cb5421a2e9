"""Batches that tests of losses share: random statistics in fp64, with everything that any algorithm needs.

Legend: E episodes, A action positions, U units, K reference completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import torch
from shiqbench_algorithms.copg import Copg, CopgConfig
from shiqbench_algorithms.dmpo import Dmpo, DmpoConfig
from shiqbench_algorithms.dpo import Dpo, DpoConfig
from shiqbench_algorithms.dqo import Dqo, DqoConfig
from shiqbench_algorithms.dro import Dro, DroConfig
from shiqbench_algorithms.ilql import Ilql, IlqlConfig
from shiqbench_algorithms.ipo import Ipo, IpoConfig
from shiqbench_algorithms.kto import Kto, KtoConfig
from shiqbench_algorithms.oreo import Oreo, OreoConfig
from shiqbench_algorithms.qrpo import Qrpo, QrpoConfig
from shiqbench_algorithms.rebel import Rebel, RebelConfig
from shiqbench_algorithms.reinforce import Reinforce, ReinforceConfig
from shiqbench_algorithms.reval import Reval, RevalConfig
from shiqbench_algorithms.sft import Sft, SftConfig
from shiqbench_algorithms.shiq import Shiq, ShiqConfig
from shiqbench_algorithms.tbrm import Tbrm, TbrmConfig

from shiqbench.plugin.batch import Batch, TokenQ

E, A = 4, 7
LENGTHS = torch.tensor([7, 3, 5, 1])
SIX = (7, 3, 5, 1, 2, 4)

# Every algorithm that trains, in settings that use each of its terms.
FAMILY: dict[str, Any] = {
    "sft": Sft(SftConfig()),
    "dpo": Dpo(DpoConfig(beta=0.3)),
    "dmpo": Dmpo(DmpoConfig(beta=0.3, gamma=0.7)),
    "dmpo whole": Dmpo(DmpoConfig(beta=0.3, gamma=1)),
    "shiq": Shiq(ShiqConfig(beta=0.3)),
    "ipo": Ipo(IpoConfig(beta=0.3)),
    "ipo sums": Ipo(IpoConfig(beta=0.3, length_average=False)),
    "kto": Kto(KtoConfig(beta=0.3, threshold=0.1, desirable_weight=1.3, undesirable_weight=0.7)),
    "kto best": Kto(KtoConfig(beta=0.3, accept="best")),
    "dro": Dro(DroConfig(tau=0.3)),
    "copg": Copg(CopgConfig(beta=0.3)),
    "copg of 3": Copg(CopgConfig(beta=0.3, k=3)),
    "rebel": Rebel(RebelConfig(eta=0.7)),
    "qrpo": Qrpo(QrpoConfig(beta=0.3)),
    "qrpo inclusive": Qrpo(QrpoConfig(beta=0.3, ties="inclusive")),
    "reinforce": Reinforce(ReinforceConfig(beta=0.3)),
    "reinforce of 3": Reinforce(ReinforceConfig(beta=0.3, k=3, importance_clip=1.2)),
    "tbrm": Tbrm(TbrmConfig(beta=0.3)),
    "reval": Reval(RevalConfig(beta=0.3)),
    "oreo": Oreo(OreoConfig(beta=0.3)),
    "oreo kl": Oreo(OreoConfig(beta=0.3, alpha=0.4)),
    "dqo": Dqo(DqoConfig(beta=0.3)),
    "ilql": Ilql(IlqlConfig(tau=0.8, gamma=0.9, cql_weight=0.2, bc_weight=0.6)),
}


def batch(
    unit_size: int = 1,
    *,
    at_reference: bool = False,
    offset: bool = False,
    lengths: Sequence[int] | torch.Tensor = LENGTHS,
    **changes: Any,
) -> Batch:
    """Random statistics, also where masked; ``offset`` adds a constant per state to policy and reference alike."""
    generator = torch.Generator().manual_seed(3)
    lengths = torch.as_tensor(lengths)
    e, a = len(lengths), int(lengths.max())

    def rand() -> torch.Tensor:
        return torch.randn(e, a, dtype=torch.float64, generator=generator)

    valid = torch.arange(a)[None] < lengths[:, None]
    ref_logit, ref_lse, reward, constant = rand(), rand().abs() + 3, rand(), rand()
    logit, lse = (ref_logit, ref_lse) if at_reference else (ref_logit + 0.3 * rand(), ref_lse + 0.3 * rand())
    shift = constant if offset else torch.zeros_like(constant)
    values = {
        "valid_EA": valid,
        "reward_EA": reward * valid,
        "logit_EA": (logit + shift).requires_grad_(),
        "lse_EA": (lse + shift).requires_grad_(),
        "ref_logit_EA": ref_logit + shift,
        "ref_lse_EA": ref_lse + shift,
        "unit_E": torch.arange(e) // unit_size,
        "weight_U": torch.ones(e // unit_size, dtype=torch.float64),
        **changes,
    }
    return Batch(**values)


def full(algorithm: Any, **settings: Any) -> Batch:
    """A batch in the algorithm's units, uneven weights, with everything that any algorithm may need."""
    size = algorithm.group_size
    b = batch(size, lengths=SIX, **settings)
    generator = torch.Generator().manual_seed(5)

    def rand() -> torch.Tensor:
        return torch.randn(b.valid_EA.shape, dtype=torch.float64, generator=generator)

    e = len(SIX)
    returns = b.return_E.detach()
    references = torch.randn(e, 5, dtype=torch.float64, generator=generator)
    references[:, 1] = returns  # a tie with the episode
    references[:, 2] = references[:, 3]  # a tie among themselves
    references[1::2, 4] = float("nan")
    best = torch.tensor([True, False, False, True, True, False])
    return replace(
        b,
        weight_U=torch.linspace(0.5, 1.5, e // size, dtype=torch.float64),
        behaviour_logp_EA=(b.logp_EA + 0.2 * rand()).detach(),
        value_EA=rand().requires_grad_(),
        token_q=TokenQ(rand().requires_grad_(), (rand().abs() + 2).requires_grad_(), rand()),
        kl_EA=rand().abs().requires_grad_(),
        mismatched_E=torch.full((e,), 0.17, dtype=torch.float64),
        best_E=best,
        turn_EA=torch.arange(b.valid_EA.shape[1]).expand(e, -1) // 2,  # a turn has two tokens, the last may have one
        reference_return_EK=references,
    )


def learned(b: Batch) -> dict[str, torch.Tensor]:
    """The tensors of a batch that carry gradient, by name."""
    found = {f.name: getattr(b, f.name) for f in fields(b)}
    if b.token_q is not None:
        found |= b.token_q._asdict()
    return {k: v for k, v in found.items() if isinstance(v, torch.Tensor) and v.requires_grad}


def rows(b: Batch) -> list[SimpleNamespace]:
    """Every row as plain lists over its action tokens alone, for formulas written from scratch."""
    found = []
    for e in range(len(b.valid_EA)):
        n = int(b.valid_EA[e].sum())

        def column(x: torch.Tensor | None, e: int = e, n: int = n) -> list[float]:
            return [] if x is None else [float(y) for y in x.detach()[e, :n]]

        row = SimpleNamespace(n=n, r=column(b.reward_EA), l=column(b.logit_EA), v=column(b.lse_EA))
        row.l_ref, row.v_ref = column(b.ref_logit_EA), column(b.ref_lse_EA)
        row.logp = [x - y for x, y in zip(row.l, row.v, strict=True)]
        row.rho = [p - x + y for p, x, y in zip(row.logp, row.l_ref, row.v_ref, strict=True)]
        row.h, row.R = sum(row.rho), sum(row.r)
        row.mu, row.value, row.kl = column(b.behaviour_logp_EA), column(b.value_EA), column(b.kl_EA)
        if b.token_q is not None:
            row.q, row.q_lse, row.q_target = (column(x) for x in b.token_q)
        if b.reference_return_EK is not None:
            row.references = [float(x) for x in b.reference_return_EK[e] if not torch.isnan(x)]
        row.best = None if b.best_E is None else bool(b.best_E[e])
        found.append(row)
    return found
