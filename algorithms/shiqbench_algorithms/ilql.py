r"""ilql: implicit language Q-learning.

With a value head V, a Q head and its target $\hat Q$, which follows Q slowly, at every action token

$$ L = \underbrace{(r_t + \gamma\,\mathrm{sg}V(s_{t+1}) - Q(s_t,a_t))^2}_{TD} +
\underbrace{|\tau - [u_t < 0]|\, u_t^2}_{expectile,\; u_t = \hat Q(s_t,a_t) - V(s_t)} +
c \underbrace{\big(\ln \textstyle\sum_a e^{Q(s_t,a)} - Q(s_t,a_t)\big)}_{CQL} - b \ln \pi(a_t|s_t), $$

averaged over tokens. s_{t+1} is the state of the next action token; V = 0 after the last. The policy itself only
clones the behaviour. Tokens are sampled from $\mathrm{softmax}(l + w Q)$, w = ``q_weight``: the paper has
Q - V instead of Q, but V cancels in the softmax. With a linear Q head, l + w Q is an ordinary vocabulary head, and
is exported as one.

Snell et al. 2022, arXiv 2206.11871. tau 0.7, gamma 0.99, c 1e-4, b 1 and the target's rate 0.005 are from the Wordle
configuration in its authors' code; q_weight 1 is our choice (they choose it at evaluation, 16 for Wordle).
Also our choice: one Q head instead of the smaller of two, and heads that read a detached hidden state, so TD and
expectile do not move the language model. Behaviour is cloned from all episodes, not only from good ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss, Need, next_action

if TYPE_CHECKING:
    from torch import Tensor


class IlqlConfig(AlgorithmConfig):
    """Q and V are in units of return, so ``q_weight`` is in nats per unit of return."""

    tau: float = Field(
        default=0.7, gt=0, lt=1, description="expectile; near 1, V approaches the best value in the data"
    )
    gamma: float = Field(default=0.99, gt=0, le=1, description="discount per action token")
    cql_weight: float = Field(
        default=1e-4, ge=0, description="weight of the term that keeps Q low where there are no data"
    )
    bc_weight: float = Field(default=1.0, ge=0, description="weight of behaviour cloning, which trains the policy")
    q_weight: float = Field(default=1.0, ge=0, description="tokens are sampled from softmax(l + q_weight Q)")
    target_rate: float = Field(default=0.005, gt=0, le=1, description="share by which the target moves to Q per update")


class Ilql(Algorithm[IlqlConfig]):
    """Offline Q-learning within the support of the data; Q is applied when tokens are sampled."""

    uses_reference = False

    @property
    def needs(self) -> frozenset[Need]:
        """A value head, and a Q head with its target."""
        return frozenset({"values", "token_q"})

    @property
    def sampling_q_weight(self) -> float:
        """Weight of Q when tokens are sampled."""
        return self.config.q_weight

    @property
    def target_rate(self) -> float:
        """Share by which the target moves to Q per update."""
        return self.config.target_rate

    def loss(self, batch: Batch) -> Loss:
        """Sum all four terms over the action tokens of every episode; the denominator counts tokens."""
        c, valid_EA, q = self.config, batch.valid_EA, batch.token_q
        if q is None:
            raise TypeError("the batch has no token_q, which ilql needs")
        value_EA = batch.need("value_EA") * valid_EA
        td_EA = (batch.reward_EA + c.gamma * next_action(value_EA).detach() - q.q_EA).square()
        gap_EA = q.target_EA.detach() - value_EA
        expectile_EA = (c.tau - (gap_EA < 0).to(gap_EA.dtype)).abs() * gap_EA.square()
        cql_EA = q.lse_EA - q.q_EA

        def total(x_EA: Tensor) -> Tensor:
            return (x_EA * valid_EA).sum(-1)

        nll_E, length_E = -batch.logp_EA.sum(-1), batch.length_E
        loss_E = total(td_EA) + total(expectile_EA) + c.cql_weight * total(cql_EA) + c.bc_weight * nll_E
        metrics = {
            "td_rms": (total(td_EA).detach() / length_E).sqrt(),
            "expectile": total(expectile_EA).detach() / length_E,
            "cql": total(cql_EA).detach() / length_E,
            "nll_per_token": nll_E.detach() / length_E,
            "value": value_EA.detach().sum(-1) / length_E,
            "q": total(q.q_EA).detach() / length_E,
        }
        return Loss(batch.weight_U * loss_E, batch.weight_U * length_E, metrics)
