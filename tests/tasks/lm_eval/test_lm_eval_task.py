"""lm-eval's suites through our engines: the same numbers as lm-eval's own model, and nothing cut in silence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from shiqbench_tasks.lm_eval.config import LmEvalConfig, LmEvalEvalConfig
from shiqbench_tasks.lm_eval.task import LmEvalTask
from small_suites import NAMES, write_ifeval, write_suites
from support import SHARED, TOY

import shiqbench
from shiqbench.base.errors import ConfigError, MissingDependencyError
from shiqbench.episodes.generation import ChatGenerator, Completion, Sampling
from shiqbench.episodes.rendering import Renderer
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request
from shiqbench.testing import check_task
from shiqbench.testing.contract import TaskContract as Line

pytestmark = pytest.mark.slow  # importing lm-eval takes seconds


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suites(tmp_path_factory.mktemp("suites"))


def settings(suites: Path, **more: Any) -> dict[str, Any]:
    return {
        "task.task_path": str(suites),
        "task.suites": ",".join(NAMES),
        "eval.engine": "transformers",
        "eval.max_context": 1024,
        "eval.max_tokens": 48,
        "eval.examples": None,
        **more,
    }


def by_hand(model: Path, suites: Path, chat: bool) -> dict[str, Any]:
    """lm-eval's own `hf` model on the same weights."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from shiqbench_tasks.lm_eval.suites import as_lm_eval, load_suites

    loaded = load_suites(LmEvalConfig(suites=NAMES, task_path=str(suites)), "test")
    loaded.reset()
    with as_lm_eval():
        model_of_lm_eval = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=4)
        found: dict[str, Any] = evaluate(
            model_of_lm_eval,
            {"tasks": loaded.tasks, "groups": {}},
            bootstrap_iters=0,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
        )
    return found


@pytest.mark.parametrize("chat", [True, False])
def test_the_same_as_lm_evals_own_model(tiny_model: Path, suites: Path, tmp_path: Path, chat: bool) -> None:
    ours = shiqbench.run(
        "base",
        "lm_eval",
        model=str(tiny_model),
        results=tmp_path,
        set=settings(suites, **{"task.apply_chat_template": chat}),
    )
    theirs = by_hand(tiny_model, suites, chat)
    compared = 0
    for suite in NAMES:
        for key, value in theirs["results"][suite].items():
            metric, _, rule = key.partition(",")
            if rule and not metric.endswith("_stderr"):
                assert ours.metrics[f"{suite}/{metric}"] == pytest.approx(value, rel=1e-4), key
                compared += 1
    assert compared == 6
    records = pd.read_parquet(Path(ours.evaluation["path"]) / "records.parquet").set_index(["suite", "doc"])
    assert len(records) == 4 * 6
    for suite, rows in theirs["samples"].items():
        for row in rows:
            mine = records.loc[(suite, row["doc_id"])]
            assert (mine["prompt_sha256"], mine["doc_sha256"]) == (row["prompt_hash"], row["doc_hash"])
            if suite == "small_answer":
                assert mine["answer"] == row["filtered_resps"][0]
            else:
                found, wanted = (
                    _numbers(json.loads(json.dumps(x))) for x in (json.loads(mine["output"]), row["resps"])
                )
                assert found == pytest.approx(wanted, abs=1e-4)


@pytest.mark.vllm
def test_vllm_answers_as_transformers_do(suites: Path, tmp_path: Path) -> None:
    """In fp32 on the embedded model: no verdict differs, at most one of the greedy texts."""
    found = {}
    for engine in ("vllm", "transformers"):
        values = settings(suites, **{"eval.engine": engine, "eval.precision": "fp32"})
        result = shiqbench.run("base", "lm_eval", results=tmp_path, set=values)
        records = pd.read_parquet(Path(result.evaluation["path"]) / "records.parquet")
        found[engine] = records.set_index(["suite", "doc"]).sort_index()
    ours, theirs = found["vllm"], found["transformers"]
    assert list(ours.index) == list(theirs.index)
    assert len(ours) == 4 * 6
    texts = ours.index.get_level_values("suite") == "small_answer"
    assert sum(ours.answer[texts] != theirs.answer[texts]) <= 1
    for a, b in zip(ours.output[~texts], theirs.output[~texts], strict=True):
        assert _numbers(json.loads(a)) == pytest.approx(_numbers(json.loads(b)), abs=2e-3)
    verdicts = [[json.loads(m).get("acc") for m in frame.metrics] for frame in (ours, theirs)]
    assert verdicts[0] == verdicts[1]


def _numbers(value: Any) -> list[float]:
    return [x for inner in value for x in _numbers(inner)] if isinstance(value, list | tuple) else [float(value)]


def test_records_and_metrics(tiny_model: Path, suites: Path, tmp_path: Path) -> None:
    result = shiqbench.run("base", "lm_eval", model=str(tiny_model), results=tmp_path, set=settings(suites))
    metrics = result.metrics
    assert result.primary["name"] == "small_choice/acc"
    assert (result.primary["low"], result.primary["high"]) == (None, None)  # fewer than ten examples
    assert metrics["small_choice"] == metrics["small_choice/acc"]
    assert not [name for name in metrics if name.endswith(("_low", "_high"))]
    assert (metrics["examples"], metrics["answers_cut"]) == (24, 6)  # random weights never say "e" nor stop
    assert "small_choice/acc_stderr" in metrics
    manifest = json.loads((Path(result.evaluation["path"]) / "manifest.json").read_text())
    assert set(manifest["task"]["suites"]) == set(NAMES)
    again = shiqbench.run("base", "lm_eval", model=str(tiny_model), results=tmp_path, set=settings(suites))
    assert again.cached


def test_a_lower_limit_of_ours_is_counted(tiny_model: Path, suites: Path, tmp_path: Path) -> None:
    values = settings(suites, **{"task.suites": "small_answer", "eval.max_tokens": 5})
    metrics = shiqbench.run("base", "lm_eval", model=str(tiny_model), results=tmp_path, set=values).metrics
    assert (metrics["answers_cut"], metrics["answers_reduced"]) == (6, 6)


def test_what_does_not_fit_is_refused(tiny_model: Path, suites: Path, tmp_path: Path) -> None:
    values = settings(suites, **{"task.suites": "small_answer", "eval.max_context": 49})
    with pytest.raises(
        ConfigError, match=r"1 of 6 requests of small_answer do not fit the context of 49 .*raise it to 50"
    ):
        shiqbench.run("base", "lm_eval", model=str(tiny_model), results=tmp_path, set=values)


def test_what_will_not_fit_after_a_training_is_refused_before_it(
    tiny_model: Path, suites: Path, tmp_path: Path
) -> None:
    values = {"also.lm_eval.task.task_path": str(suites), "also.lm_eval.eval.max_context": 49}
    options: dict[str, Any] = {"plugins": (TOY,), "results": tmp_path / "results", "set": values}
    with pytest.raises(ConfigError, match="do not fit the context of 49"):
        shiqbench.run("sft", "toy", model=str(tiny_model), also=("lm_eval:small_answer",), **options)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task.suites": "small_choise"}, "lm-eval has no task 'small_choise', did you mean 'small_choice'"),
        ({"task.task_path": "/nowhere"}, "no such folder"),
        ({"eval.split": "train"}, "suite small_choice has no train split apart from what it evaluates"),
        ({"eval.temperature": 0.7}, "eval.temperature"),
        ({"task.limit": 3}, "unknown setting 'task.limit'"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    tiny_model: Path, suites: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    values = settings(suites, **{"task.suites": "small_choice", **changes})
    with pytest.raises(ConfigError) as error:
        shiqbench.run("base", "lm_eval", model=str(tiny_model), results=tmp_path, set=values)
    assert message in error.value.line()


def refused(folder: Path, text: str, **config: Any) -> str:
    from shiqbench_tasks.lm_eval.suites import load_suites

    (folder / "strange.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_suites(LmEvalConfig(suites=("strange",), task_path=str(folder), **config), "test")
    return error.value.line()


def test_a_suite_that_states_what_engines_do_not_offer_is_refused(tmp_path: Path) -> None:
    folder = write_suites(tmp_path)
    answer = (folder / "small_answer.yaml").read_text().replace("task: small_answer", "task: strange")
    assert "samples with num_beams" in refused(folder, answer.replace("do_sample: false", "num_beams: 3"))
    assert "runs code that the model wrote" in refused(folder, answer + "unsafe_code: true\n")
    assert "fixed at no worked examples" in refused(folder, answer + "num_fewshot: 0\n", num_fewshot=2)
    missing = answer.replace(str(folder / "test.jsonl"), str(folder / "nowhere.jsonl"))
    assert "suite strange cannot be loaded" in refused(folder, missing)


def test_a_cell_and_its_suites_in_one_command(tiny_model: Path, suites: Path, tmp_path: Path) -> None:
    values = {
        "also.lm_eval.task.task_path": str(suites),
        "also.lm_eval.eval.max_tokens": 8,
        "eval.max_context": 1024,
    }
    result = shiqbench.run(
        "sft",
        "toy",
        model=str(tiny_model),
        plugins=(TOY,),
        results=tmp_path,
        also=("lm_eval:small_choice,small_answer",),
        set=values,
    )
    added = result.also["lm_eval:small_choice,small_answer"]
    assert added["primary"]["name"] == "small_choice/acc"
    weights = shiqbench.run(
        "base",
        "lm_eval",
        model=f"cell:{result.cell}",
        results=tmp_path,
        set=settings(suites, **{"task.suites": "small_choice,small_answer", "eval.max_tokens": 8}),
    )
    assert weights.metrics == added["metrics"]


def test_local_files_enter_the_digest(tiny_model: Path, tmp_path: Path) -> None:
    folder = write_suites(tmp_path)

    def planned() -> str:
        values = {"task.task_path": str(folder), "task.suites": "small_choice", "eval.engine": "transformers"}
        return make_plan(Request("base", "lm_eval", str(tiny_model), settings=values)).cell.digest

    before = planned()
    (folder / "test.jsonl").write_text((folder / "test.jsonl").read_text().replace("red", "rot"))
    assert planned() != before


def test_without_lm_eval_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(MissingDependencyError, match=r'pip install "shiqbench\[lm-eval\]"'):
        LmEvalTask.data_identity(LmEvalConfig())


def test_planning_imports_neither_lm_eval_nor_torch(suites: Path) -> None:
    code = (
        "import sys; from shiqbench.planning.make import make_plan; from shiqbench.planning.plan import Request; "
        f"settings = {{'task.suites': 'small_choice', 'task.task_path': '{suites}'}}; "
        "make_plan(Request('base', 'lm_eval', settings=settings)); "
        "print(sorted({'torch', 'pandas', 'lm_eval', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_of_a_task(suites: Path, name: str) -> None:
    report = check_task("lm_eval", {"suites": [name], "task_path": str(suites)})
    assert {Line.RECORDS, Line.SETTINGS, Line.CONTEXT, Line.DETERMINISTIC, Line.METRICS} <= set(report.held)


class Recorded:
    """An engine that answers each prompt as someone else did."""

    name, version = "recorded", "recorded 1"

    def __init__(self, renderer: Renderer, answers: dict[str, str]) -> None:
        self.renderer, self.answers = renderer, answers

    def generate(self, prompts: Any, sampling: Sampling) -> list[Completion]:
        found = []
        for prompt in prompts:
            text = (
                self.renderer.decode(prompt)
                .partition("<|im_start|>user\n")[2]
                .removesuffix("<|im_end|>\n<|im_start|>assistant\n")
            )
            ids = self.renderer.tokenizer(self.answers[text], split_special_tokens=True)["input_ids"]
            found.append(Completion((*ids, self.renderer.end_of_turn), (0.0,) * (len(ids) + 1), True))
        return found


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "ifeval").is_dir(), reason=f"no {SHARED / 'ifeval'}")
def test_ifeval_on_recorded_answers_gives_the_published_score(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = SHARED / "ifeval" / "input_data.jsonl"
    (recorded,) = (SHARED / "ifeval").glob("input_response_data_gpt4_*.jsonl")
    asked, answered = ([json.loads(line) for line in f.read_text().splitlines()] for f in (data, recorded))
    task = LmEvalTask(LmEvalConfig(task_path=str(write_ifeval(tmp_path, data))))
    task.fetch()
    renderer = Renderer(tiny_model)
    # By place: the prompt of one answer was worded otherwise.
    engine: Any = Recorded(renderer, {a["prompt"]: b["response"] for a, b in zip(asked, answered, strict=True)})
    chat = ChatGenerator(engine, renderer, 1_000_000)

    def verdicts() -> tuple[Any, int, int]:
        records = task.evaluate(chat, LmEvalEvalConfig(), lambda done, total: None)
        values = [json.loads(r["metrics"]) for r in records]
        checks = [right for v in values for right in v["inst_level_strict_acc"]]
        assert (len(records), len(checks)) == (541, 834)
        return task.metrics(records), sum(v["prompt_level_strict_acc"] for v in values), sum(checks)

    metrics, prompts, instructions = verdicts()
    assert (prompts, instructions) == (417, 698)
    assert metrics.primary.name == "ifeval/prompt_level_strict_acc"
    assert metrics.primary.value == pytest.approx(417 / 541)
    assert metrics.metrics["ifeval/inst_level_strict_acc"] == pytest.approx(698 / 834)
    low, high = (metrics.metrics[f"ifeval/inst_level_strict_acc_{end}"] for end in ("low", "high"))
    assert low < 698 / 834 < high
    assert metrics.metrics["answers_cut"] == 0
    # The scores that are quoted for these answers, 0.767 and 0.833, are those of a plain splitter in punkt's place.
    from lm_eval.tasks.ifeval import instructions_util

    monkeypatch.setattr(instructions_util, "count_sentences", lambda t: len(instructions_util.split_into_sentences(t)))
    plain, _, instructions = verdicts()
    assert round(plain.primary.value, 3) == 0.767
    assert instructions == 696
