"""PUBLIC: everything that a plugin's author needs, in one namespace; ``docs/plugin_api.md`` explains each name.

Names are imported when they are first used, so that registering and listing plugins import neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shiqbench.base.cache import cache_dir, say
    from shiqbench.base.digest import content_sha256, digest, file_sha256, short
    from shiqbench.base.errors import AssetError, ConfigError, DivergedError, MissingDependencyError, RunError
    from shiqbench.base.files import (
        checked_content,
        checked_line,
        read_json,
        read_text,
        replacing,
        replacing_folder,
        write_json,
        write_text,
    )
    from shiqbench.base.suggest import did_you_mean
    from shiqbench.base.wheels import Wheel
    from shiqbench.base.wheels import fetch as fetch_wheel
    from shiqbench.episodes.episode import REFERENCE_RETURNS, Episode, Message, StopReason
    from shiqbench.episodes.generation import (
        ChatEngine,
        ChatGenerator,
        Completion,
        CompletionStream,
        Generator,
        Reply,
        Sampling,
        check_finite,
        mixed_seed,
        text_reply,
    )
    from shiqbench.episodes.journal import JournaledGenerator
    from shiqbench.episodes.playing import LiveEpisode, play_all
    from shiqbench.episodes.rendering import Rendered, Renderer, TokenSequence
    from shiqbench.models.sources import find_model
    from shiqbench.plugin.algorithm import Algorithm, Loss, Need, accepted
    from shiqbench.plugin.batch import Batch, EpisodeUnit, TokenQ
    from shiqbench.plugin.config import (
        AlgorithmConfig,
        EngineConfig,
        EvalConfig,
        RewardConfig,
        Section,
        TaskConfig,
        TrainConfig,
    )
    from shiqbench.plugin.environment import (
        Environment,
        EnvironmentEpisode,
        Step,
        play_environments,
        scripted_episode,
        stops,
    )
    from shiqbench.plugin.evaluation_context import ActionLogits, EvaluationContext
    from shiqbench.plugin.record_view import RecordView
    from shiqbench.plugin.registry import Registry
    from shiqbench.plugin.registry import registry as find_plugins
    from shiqbench.plugin.reward import Answered, Pair, RewardModel, held_out_accuracy
    from shiqbench.plugin.specs import AlgorithmSpec, EngineSpec, RewardSpec, TaskSpec, hookimpl
    from shiqbench.plugin.start_model import StartModel
    from shiqbench.plugin.task import (
        ExactTask,
        FrontAxes,
        Metrics,
        Primary,
        Record,
        Scores,
        Split,
        Task,
        TaskBase,
    )
    from shiqbench.plugin.tensors import log_sigmoid, next_action, suffix_sum
    from shiqbench.plugin.training import SAMPLED_HEAD, ModelTraining, TrainedModel
    from shiqbench.plugin.validation import validate
    from shiqbench.stats.intervals import (
        LEAST_EXAMPLES,
        Z_95,
        clustered_wilson,
        student,
        student_ratio,
        wilson,
        with_interval,
    )
    from shiqbench.stats.kl import k1, k3
    from shiqbench.stats.preference import win_rate, win_rate_at_equal_length
    from shiqbench.store.cell import corrupt, is_done, lock, mark_done, verified
    from shiqbench.store.resumable import load_state, save_state

# fmt: off
__all__ = [  # noqa: RUF022 - by subject
    # Registering
    "AlgorithmSpec", "EngineSpec", "RewardSpec", "TaskSpec", "Registry", "find_plugins", "hookimpl",
    # Configuration
    "AlgorithmConfig", "EngineConfig", "EvalConfig", "RewardConfig", "Section", "TaskConfig", "TrainConfig", "validate",
    # Algorithms
    "Algorithm", "Batch", "Loss", "Need", "TokenQ", "accepted", "log_sigmoid", "next_action", "suffix_sum",
    # Tasks
    "ActionLogits", "EvaluationContext", "ExactTask", "FrontAxes", "Metrics", "Primary", "Record", "RecordView",
    "Scores", "Split", "StartModel", "Task", "TaskBase",
    # Reward models
    "Answered", "Pair", "RewardModel", "held_out_accuracy",
    # Episodes, and how they become tokens
    "Episode", "Message", "REFERENCE_RETURNS", "Rendered", "Renderer", "StopReason", "TokenSequence",
    # Generated text
    "ChatEngine", "ChatGenerator", "Completion", "CompletionStream", "Generator", "JournaledGenerator", "Reply",
    "Sampling", "check_finite", "mixed_seed", "text_reply",
    # Episodes that are being played
    "Environment", "EnvironmentEpisode", "LiveEpisode", "Step", "play_all", "play_environments", "scripted_episode",
    "stops",
    # Statistics
    "LEAST_EXAMPLES", "Z_95", "clustered_wilson", "k1", "k3", "student", "student_ratio", "wilson", "win_rate",
    "win_rate_at_equal_length", "with_interval",
    # Data that is fetched or made once, and kept in the cache
    "Wheel", "cache_dir", "corrupt", "fetch_wheel", "find_model", "is_done", "lock", "mark_done", "say", "verified",
    # Files and digests
    "checked_content", "checked_line", "content_sha256", "digest", "file_sha256", "read_json", "read_text", "replacing",
    "replacing_folder", "short", "write_json", "write_text",
    # Training that a task does itself
    "EpisodeUnit", "ModelTraining", "SAMPLED_HEAD", "TrainedModel", "load_state", "save_state",
    # One-line errors
    "AssetError", "ConfigError", "DivergedError", "MissingDependencyError", "RunError", "did_you_mean",
]

_HOME = {
    "shiqbench.base.errors": ("AssetError", "ConfigError", "DivergedError", "MissingDependencyError", "RunError"),
    "shiqbench.base.suggest": ("did_you_mean",),
    "shiqbench.base.cache": ("cache_dir", "say"),
    "shiqbench.base.wheels": ("Wheel", "fetch_wheel"),
    "shiqbench.base.digest": ("content_sha256", "digest", "file_sha256", "short"),
    "shiqbench.base.files": ("checked_content", "checked_line", "read_json", "read_text", "replacing",
        "replacing_folder", "write_json", "write_text"),
    "shiqbench.stats.intervals": ("LEAST_EXAMPLES", "Z_95", "clustered_wilson", "student", "student_ratio", "wilson",
        "with_interval"),
    "shiqbench.stats.kl": ("k1", "k3"),
    "shiqbench.stats.preference": ("win_rate", "win_rate_at_equal_length"),
    "shiqbench.store.cell": ("corrupt", "is_done", "lock", "mark_done", "verified"),
    "shiqbench.store.resumable": ("load_state", "save_state"),
    "shiqbench.episodes.episode": ("Episode", "Message", "REFERENCE_RETURNS", "StopReason"),
    "shiqbench.episodes.generation": ("ChatEngine", "ChatGenerator", "Completion", "CompletionStream", "Generator",
        "Reply", "Sampling", "check_finite", "mixed_seed", "text_reply"),
    "shiqbench.episodes.playing": ("LiveEpisode", "play_all"),
    "shiqbench.episodes.rendering": ("Rendered", "Renderer", "TokenSequence"),
    "shiqbench.episodes.journal": ("JournaledGenerator",),
    "shiqbench.models.sources": ("find_model",),
    "shiqbench.plugin.algorithm": ("Algorithm", "Loss", "Need", "accepted"),
    "shiqbench.plugin.batch": ("Batch", "EpisodeUnit", "TokenQ"),
    "shiqbench.plugin.config": ("AlgorithmConfig", "EngineConfig", "EvalConfig", "RewardConfig", "Section",
        "TaskConfig", "TrainConfig"),
    "shiqbench.plugin.record_view": ("RecordView",),
    "shiqbench.plugin.registry": ("Registry", "find_plugins"),
    "shiqbench.plugin.reward": ("Answered", "Pair", "RewardModel", "held_out_accuracy"),
    "shiqbench.plugin.specs": ("AlgorithmSpec", "EngineSpec", "RewardSpec", "TaskSpec", "hookimpl"),
    "shiqbench.plugin.start_model": ("StartModel",),
    "shiqbench.plugin.environment": ("Environment", "EnvironmentEpisode", "Step", "play_environments",
        "scripted_episode", "stops"),
    "shiqbench.plugin.evaluation_context": ("ActionLogits", "EvaluationContext"),
    "shiqbench.plugin.task": ("ExactTask", "FrontAxes", "Metrics", "Primary",
        "Record", "Scores", "Split", "Task", "TaskBase"),
    "shiqbench.plugin.tensors": ("log_sigmoid", "next_action", "suffix_sum"),
    "shiqbench.plugin.training": ("ModelTraining", "SAMPLED_HEAD", "TrainedModel"),
    "shiqbench.plugin.validation": ("validate",),
}
# fmt: on
_RENAMED = {"fetch_wheel": "fetch", "find_plugins": "registry"}  # public name -> name in its module


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(module), _RENAMED.get(name, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
