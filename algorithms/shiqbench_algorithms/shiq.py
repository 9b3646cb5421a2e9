r"""shiq: Q-learning on the logits, relative to the reference.

With $v(s) = \ln\sum_a e^{l(s,a)}$, $\Delta v = v - v_{ref}$ and $\rho = \ln\pi - \ln\pi_{ref}$ at action tokens,

$$ \delta_t = \sum_{k \ge t} \gamma^{k-t} (r_k - \beta \rho_k) - \beta \Delta v(s_t), \qquad
L = \mathrm{mean}_{episodes}\; \mathrm{norm}_t\; \delta_t^2 . $$

It is the soft Bellman residual of $q = \beta (l - l_{ref})$, telescoped over the rest of the episode
(``multi_step``). Logits are shifted by the reference's $v_{ref}$ (``shift``), so q and V are 0 at the start.
One-step form: $r_t - \beta\rho_t - \beta\Delta v(s_t) + \gamma\beta\Delta v(s_{t+1})$; s_{t+1} is the state of the
next action token, and $\Delta v$ is 0 after the last. Without the shift, $v$ replaces $\Delta v$.

Source: Clavier et al. 2025, arXiv 2505.11081. We had only its abstract and summaries. We derived the loss from
the soft Bellman equation; it agrees with them, and its t=0 term is printed in ReVal (2026). The defaults are our
choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shiqbench.plugin import Algorithm, AlgorithmConfig, Batch, Loss, next_action, suffix_sum

if TYPE_CHECKING:
    from torch import Tensor


class ShiqConfig(AlgorithmConfig):
    """Switches for the steps of the derivation; beta is in units of reward per nat."""

    beta: float = Field(default=0.02, gt=0, description="an episode moves by about return/beta nats")
    gamma: float = Field(default=1.0, gt=0, le=1, description="discount per action token")
    shift: bool = Field(default=True, description="subtract the reference's value v_ref from v")
    multi_step: bool = Field(default=True, description="sum rewards and log-ratios over the rest of the episode")
    stop_future: bool = Field(default=False, description="stop the gradient through everything after token t")
    normalize: Literal["sum", "sequence", "token"] = "sequence"


class Shiq(Algorithm[ShiqConfig]):
    """Minimises the squared soft Bellman residual at every action token."""

    @property
    def temperature(self) -> float:
        """Beta: at its optimum, of the objective discounted by gamma, all residuals are zero."""
        return self.config.beta

    def residual(self, batch: Batch) -> Tensor:
        """Compute ``delta_t`` at every action token ``[E, A]``; it is 0 elsewhere."""
        c = self.config
        dv_EA = (batch.lse_EA - batch.ref_lse_EA if c.shift else batch.lse_EA) * batch.valid_EA
        gain_EA = batch.reward_EA * batch.valid_EA - c.beta * batch.logratio_EA  # r - beta * rho
        if c.multi_step:
            total_EA = suffix_sum(gain_EA, c.gamma)
            if c.stop_future:
                total_EA = gain_EA + (total_EA - gain_EA).detach()
            delta_EA = total_EA - c.beta * dv_EA
        else:
            after_EA = next_action(dv_EA)
            if c.stop_future:
                after_EA = after_EA.detach()
            delta_EA = gain_EA - c.beta * dv_EA + c.gamma * c.beta * after_EA
        return delta_EA * batch.valid_EA

    def loss(self, batch: Batch) -> Loss:
        """Compute squared residuals, normalised per episode."""
        squared_E = self.residual(batch).square().sum(-1)
        length_E = batch.length_E
        numerator, denominator = {
            "sum": (squared_E, batch.weight_U),
            "sequence": (squared_E / length_E, batch.weight_U),
            "token": (squared_E, batch.weight_U * length_E),
        }[self.config.normalize]
        value_EA = self.config.beta * (batch.lse_EA - batch.ref_lse_EA).detach() * batch.valid_EA
        metrics = {
            "residual_rms": (squared_E.detach() / length_E).sqrt(),
            "return_over_beta": batch.return_E / self.config.beta,
            "value": value_EA.sum(-1) / length_E,
        }
        return Loss(batch.weight_U * numerator, denominator, metrics)
