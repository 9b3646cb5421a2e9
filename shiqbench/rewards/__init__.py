"""The reward models that ship with shiqbench. They register through the same hooks as third-party plugins."""

from __future__ import annotations

from shiqbench.plugin.specs import RewardSpec, hookimpl


@hookimpl
def shiqbench_register_rewards() -> list[RewardSpec]:
    """Name the built-in reward models."""
    return [
        RewardSpec(
            name="bradley_terry",
            version="1",
            summary="trained here on the task's training pairs: a linear head on frozen features, minutes on a CPU",
            target="shiqbench.rewards.bradley_terry:BradleyTerry",
            config="shiqbench.rewards.config:BradleyTerryConfig",
        ),
        RewardSpec(
            name="bradley_terry_full",
            version="1",
            summary="trained here on the task's training pairs: the whole language model",
            target="shiqbench.rewards.bradley_terry:BradleyTerryFull",
            config="shiqbench.rewards.config:BradleyTerryFullConfig",
        ),
        RewardSpec(
            name="classifier",
            version="1",
            summary="a Hugging Face sequence classifier with one output, such as Skywork-Reward",
            target="shiqbench.rewards.classifier:Classifier",
            config="shiqbench.rewards.config:ClassifierConfig",
        ),
    ]
