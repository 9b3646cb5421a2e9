"""The algorithms that ship with shiqbench, one page each. They register in the same way as third-party plugins."""

from __future__ import annotations

from shiqbench.plugin import AlgorithmSpec, hookimpl


@hookimpl
def shiqbench_register_algorithms() -> list[AlgorithmSpec]:
    """Return the specs of the built-in algorithms."""
    return [
        AlgorithmSpec(
            name="base",
            version="1",
            summary="the model as it is, without training",
            target="shiqbench_algorithms.base:Base",
            config="shiqbench_algorithms.base:BaseConfig",
            trains=False,
        ),
        AlgorithmSpec(
            name="sft",
            version="1",
            summary="supervised fine-tuning on accepted episodes",
            target="shiqbench_algorithms.sft:Sft",
            config="shiqbench_algorithms.sft:SftConfig",
        ),
        AlgorithmSpec(
            name="dpo",
            version="1",
            summary="direct preference optimisation on pairs of episodes of a group",
            target="shiqbench_algorithms.dpo:Dpo",
            config="shiqbench_algorithms.dpo:DpoConfig",
        ),
        AlgorithmSpec(
            name="dmpo",
            version="1",
            summary="multi-turn DPO: log-ratios are discounted by turn and normalised by the number of turns",
            target="shiqbench_algorithms.dmpo:Dmpo",
            config="shiqbench_algorithms.dmpo:DmpoConfig",
        ),
        AlgorithmSpec(
            name="shiq",
            version="1",
            summary="Q-learning on the logits: off-policy, per token, multi-turn",
            target="shiqbench_algorithms.shiq:Shiq",
            config="shiqbench_algorithms.shiq:ShiqConfig",
        ),
        AlgorithmSpec(
            name="ipo",
            version="1",
            summary="identity preference optimisation on pairs: regresses the gap on a finite target",
            target="shiqbench_algorithms.ipo:Ipo",
            config="shiqbench_algorithms.ipo:IpoConfig",
        ),
        AlgorithmSpec(
            name="kto",
            version="1",
            summary="Kahneman-Tversky optimisation on good and bad episodes, without pairs",
            target="shiqbench_algorithms.kto:Kto",
            config="shiqbench_algorithms.kto:KtoConfig",
        ),
        AlgorithmSpec(
            name="dro",
            version="1",
            summary="direct reward optimisation of whole episodes, with a value head",
            target="shiqbench_algorithms.dro:Dro",
            config="shiqbench_algorithms.dro:DroConfig",
        ),
        AlgorithmSpec(
            name="copg",
            version="1",
            summary="contrastive policy gradient over groups of k episodes",
            target="shiqbench_algorithms.copg:Copg",
            config="shiqbench_algorithms.copg:CopgConfig",
        ),
        AlgorithmSpec(
            name="rebel",
            version="1",
            summary="regresses differences of log-ratios on differences of returns",
            target="shiqbench_algorithms.rebel:Rebel",
            config="shiqbench_algorithms.rebel:RebelConfig",
        ),
        AlgorithmSpec(
            name="qrpo",
            version="1",
            summary="regresses log-ratios on ranks among completions of the reference",
            target="shiqbench_algorithms.qrpo:Qrpo",
            config="shiqbench_algorithms.qrpo:QrpoConfig",
        ),
        AlgorithmSpec(
            name="reinforce",
            version="1",
            summary="offline policy gradient with a leave-one-out baseline over k episodes",
            target="shiqbench_algorithms.reinforce:Reinforce",
            config="shiqbench_algorithms.reinforce:ReinforceConfig",
        ),
        AlgorithmSpec(
            name="tbrm",
            version="1",
            summary="Bellman residual of the whole episode on the logits",
            target="shiqbench_algorithms.tbrm:Tbrm",
            config="shiqbench_algorithms.tbrm:TbrmConfig",
        ),
        AlgorithmSpec(
            name="reval",
            version="1",
            summary="Bellman residual of the whole episode, calibrated at the reference",
            target="shiqbench_algorithms.reval:Reval",
            config="shiqbench_algorithms.reval:RevalConfig",
        ),
        AlgorithmSpec(
            name="oreo",
            version="1",
            summary="soft Bellman consistency at every token, with a value head",
            target="shiqbench_algorithms.oreo:Oreo",
            config="shiqbench_algorithms.oreo:OreoConfig",
        ),
        AlgorithmSpec(
            name="dqo",
            version="1",
            summary="the residual of oreo, without its stopped gradients",
            target="shiqbench_algorithms.dqo:Dqo",
            config="shiqbench_algorithms.dqo:DqoConfig",
        ),
        AlgorithmSpec(
            name="ilql",
            version="1",
            summary="implicit Q-learning with value and Q heads, applied when tokens are sampled",
            target="shiqbench_algorithms.ilql:Ilql",
            config="shiqbench_algorithms.ilql:IlqlConfig",
        ),
    ]
