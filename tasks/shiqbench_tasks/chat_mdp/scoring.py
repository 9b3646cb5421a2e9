"""Exact scores of a model: its probability of every word in every state, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from shiqbench.plugin import ConfigError
from shiqbench_tasks.chat_mdp.instances import LEAST_GAIN, with_other
from shiqbench_tasks.mdp import data, solve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from shiqbench.plugin import ActionLogits
    from shiqbench_tasks.chat_mdp.config import ChatMdpConfig
    from shiqbench_tasks.chat_mdp.instances import Instance

LEAST_OTHER = 1e-7  # probability of any other text; a sum of words in fp32 may exceed one by rounding


@dataclass(frozen=True)
class Table:
    """A model's policy in an instance.

    Attributes:
        logp_NA: Log-probability of each word, and last of any other text; fp64.
        value_N: Logsumexp of the model's logits at the first token of the answer.
    """

    logp_NA: Tensor
    value_N: Tensor

    @property
    def logit_NA(self) -> Tensor:
        """Logits whose logsumexp is ``value_N``."""
        return self.logp_NA + self.value_N[:, None]


def table(found: Sequence[ActionLogits], words: int) -> Table:
    """The policy from the logits of every word in every state, state by state."""
    logp = [sum(a - b for a, b in zip(f.logit, f.lse, strict=True)) for f in found]
    logp_NA = torch.tensor(logp, dtype=torch.float64).view(-1, words)
    other_N = (1 - logp_NA.exp().sum(-1)).clamp(min=LEAST_OTHER)
    whole_NA = torch.cat([logp_NA, other_N.log()[:, None]], dim=1).log_softmax(-1)
    return Table(whole_NA, torch.tensor([f.lse[0] for f in found[::words]], dtype=torch.float64))


def score(
    instance: Instance, own: Table, reference: Table, config: ChatMdpConfig, shown: data.Trajectories | None
) -> dict[str, Any]:
    """Exact values of one instance.

    Args:
        instance: The instance.
        own: Policy of the evaluated model.
        reference: Policy of the model that training started from.
        config: Settings.
        shown: Data of the training; None if there was none.

    Raises:
        ConfigError: Nothing can be gained from this reference.
    """
    mdp = with_other(instance.mdp, reference.logit_NA, config.other_reward)
    solution, logp_SNA = solve.solve(mdp), own.logp_NA[None]
    words_SNK = torch.arange(len(instance.words)).expand(1, len(instance.paths), -1)
    found = {
        "relative_regret": solve.relative_regret(mdp, solution, logp_SNA),
        "return": solve.expected_return(mdp, logp_SNA),
        "objective": solve.objective(mdp, logp_SNA),
        "best_objective": solution.value_SN[:, 0],
        "kl_to_reference": solve.divergence(mdp, logp_SNA, mdp.ref_logp_SNA),
        "kl_to_optimum": solve.divergence(mdp, logp_SNA, solution.logp_SNA),
        "valid_mass": 1 - solve.mass_outside(mdp, logp_SNA, words_SNK),
        "value_error": solve.value_error(mdp, solution, own.logit_NA[None]),
    }
    values: dict[str, Any] = {name: float(value) for name, value in found.items()}
    if own is reference:
        values["relative_regret"] = 1.0  # by definition, also where nothing can be gained
    elif not values["best_objective"] - float(solve.objective(mdp, mdp.ref_logp_SNA)) > LEAST_GAIN:
        raise ConfigError(
            f"nothing can be gained in {instance.id}: the reference gives its words a probability of "
            f"{float(mdp.ref_logp_SNA[0, 0, :-1].exp().sum()):.1g}",
            where="start of training",
            do="train a start on the words first: --set start.algorithm=sft --set start.task.teach=words",
        )
    values["coverage"] = 0.0 if shown is None else float(data.coverage(mdp, solution, shown))
    return values
