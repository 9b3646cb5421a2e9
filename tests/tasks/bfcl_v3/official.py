"""The official code in a process of its own: its checker, its loop, its scoring of result files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shiqbench_tasks.bfcl_v3.loop import Dialogue
    from shiqbench_tasks.bfcl_v3.versions import DataVersion

SCRIPT = """
import json, sys
root, prefix = sys.argv[1:]
sys.path.insert(0, root)
from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker
entries, answers = {}, {}
for category in ("base", "miss_func", "miss_param", "long_context"):
    name = prefix + "_multi_turn_" + category + ".json"
    for line in open(root + "/bfcl_eval/data/" + name):
        entry = json.loads(line)
        entries[entry["id"]] = entry
    for line in open(root + "/bfcl_eval/data/possible_answer/" + name):
        answer = json.loads(line)
        answers[answer["id"]] = answer["ground_truth"]
if prefix == "BFCL_v3":  # six answers to five questions, see versions.py
    truth = answers["multi_turn_base_154"]
    answers["multi_turn_base_154"] = [truth[0], truth[1] + truth[2], *truth[3:]]
verdicts = []
for number, job in enumerate(json.load(sys.stdin)):
    entry = entries[job["id"]]
    verdict = multi_turn_checker(job["model"], answers[job["id"]], entry, job["id"].rsplit("_", 1)[0], f"m{number}")
    verdicts.append([verdict["valid"], verdict.get("error_type")])
json.dump(verdicts, sys.stdout)
"""


# Imports the whole official package: everything that it wants and is not installed is a stub.
PRELUDE = """
import ast, importlib.abc, importlib.machinery, json, pathlib, sys, types
root, prefix = sys.argv[1:3]
class Meta(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Meta(name, (), {})
    def __or__(self, other):
        return self
    __ror__ = __or__
class Nothing(metaclass=Meta):
    def __init__(self, *a, **k):
        pass
    def __call__(self, *a, **k):
        return a[0] if a and callable(a[0]) else Nothing()
    def __or__(self, other):
        return self
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()
class Stub(types.ModuleType):
    __path__ = []
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("override", "final"):
            return lambda function: function
        if name == "tqdm":
            return lambda items, *a, **k: items
        return object if name == "EnforceOverrides" else Meta(name, (Nothing,), {})
wanted = set()
for file in pathlib.Path(root).rglob("*.py"):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            wanted |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            wanted.add(node.module.partition(".")[0])
wanted -= {*sys.stdlib_module_names, "bfcl_eval", "mpmath", "filelock"}
class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in wanted or name.startswith("bfcl_eval.model_handler.parser."):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        return Stub(spec.name)
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Finder())
sys.path.insert(0, root)
"""
HANDLER = (
    PRELUDE
    + """
import contextlib, copy, itertools, os
from bfcl_eval.model_handler.local_inference.base_oss_handler import OSSHandler
if prefix == "BFCL_v3":
    from bfcl_eval._llm_response_generation import process_multi_turn_test_case as prepare
else:
    from bfcl_eval.utils import (
        add_language_specific_hint_to_function_doc, populate_test_cases_with_predefined_functions
    )
    def prepare(cases):
        return add_language_specific_hint_to_function_doc(populate_test_cases_with_predefined_functions(cases))
class Scripted(OSSHandler):
    def __init__(self, replies):
        self.model_name_underline_replaced = "scripted"
        self.replies = itertools.chain(replies, itertools.repeat("Done."))
    def _query_prompting(self, inference_data):
        self.seen = inference_data["message"]
        return next(self.replies), 0.0
    def _parse_query_response_prompting(self, reply):
        return {
            "model_responses": reply, "input_token": 0, "output_token": 0,
            "model_responses_message_for_chat_history": {"role": "assistant", "content": reply},
        }
"""
)
LOOP = (
    HANDLER
    + """
played = []
for job in json.load(sys.stdin):
    category = job["id"].rsplit("_", 1)[0]
    for line in open(f"{root}/bfcl_eval/data/{prefix}_{category}.json"):
        if json.loads(line)["id"] == job["id"]:
            (entry,) = prepare([json.loads(line)])
    handler = Scripted(job["replies"])
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        result, _ = handler.inference_multi_turn_prompting(entry, False, True)
    played.append({"messages": [[m["role"], m["content"]] for m in handler.seen], "result": result})
json.dump(played, sys.stdout)
"""
)
# The whole way of a text: the loop, its decoder and executor, then what `bfcl evaluate` does to one episode.
JUDGE = (
    HANDLER
    + """
from bfcl_eval.eval_checker import eval_runner
from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_utils
written = []
eval_runner.write_list_of_dicts_to_file = lambda name, rows, folder: written.append(rows)
entries, answers = {}, {}
for category in ("base", "miss_func", "miss_param", "long_context"):
    name = f"{prefix}_multi_turn_{category}.json"
    for line in open(f"{root}/bfcl_eval/data/{name}"):
        entries[json.loads(line)["id"]] = json.loads(line)
    for line in open(f"{root}/bfcl_eval/data/possible_answer/{name}"):
        answers[json.loads(line)["id"]] = json.loads(line)["ground_truth"]
prepared = {}
def verdict(handler, identity, result, model):
    entry, truth, category = copy.deepcopy(entries[identity]), answers[identity], identity.rsplit("_", 1)[0]
    if prefix == "BFCL_v3":
        rows = [{"id": identity, "result": result}], [entry], [{"ground_truth": truth}]
        eval_runner.multi_turn_runner(handler, *rows, model, category, pathlib.Path())
        _, *failed = written.pop()
        return failed[0]["error"]["error_type"] if failed else None
    found = eval_runner._evaluate_single_multi_turn_entry(handler, identity, result, truth, entry, model, category)
    return None if found["valid"] else found["error"]["error_type"]
judged = []
for number, job in enumerate(json.load(sys.stdin)):
    identity = job["id"]
    if identity not in prepared:
        (prepared[identity],) = prepare([copy.deepcopy(entries[identity])])
    handler = Scripted(job["replies"])
    handler.model_name_underline_replaced = f"s{number}"
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        result, _ = handler.inference_multi_turn_prompting(copy.deepcopy(prepared[identity]), False, True)
        error = verdict(handler, identity, result, f"s{number}")
    judged.append({"error": error, "tools": [m["content"] for m in handler.seen if m["role"] == "tool"]})
    for name in [name for name in vars(multi_turn_utils) if name.endswith("_instance")]:
        delattr(multi_turn_utils, name)
json.dump(judged, sys.stdout)
"""
)
# What `bfcl evaluate` does to a folder of results, but for its tables, which want numpy and pandas.
EVALUATE = (
    PRELUDE
    + """
import contextlib, os
from bfcl_eval.eval_checker import eval_runner
eval_runner.update_leaderboard_table_with_local_score_file = lambda *a: None
eval_runner.generate_leaderboard_csv = lambda *a: None
job = json.load(sys.stdin)
with contextlib.redirect_stdout(open(os.devnull, "w")):
    eval_runner.main([job["model"]], job["categories"], None, None, **job["options"])
scores = {}
for file in pathlib.Path(os.environ["BFCL_PROJECT_ROOT"], "score").rglob("*_score.json"):
    summary, *failures = [json.loads(line) for line in open(file)]
    scores[file.name] = [summary, {f["id"]: f["error"]["error_type"] for f in failures}]
json.dump(scores, sys.stdout)
"""
)
DECODE = (
    PRELUDE
    + """
from bfcl_eval.eval_checker.eval_runner import get_handler
job = json.load(sys.stdin)
options = {} if prefix == "BFCL_v3" else {"has_tool_call_tag": False}
json.dump([get_handler(name).decode_execute(job["step"], **options) for name in job["names"]], sys.stdout)
"""
)


def run_official(script: str, root: Path, version: DataVersion, jobs: Any, *arguments: str, home: Path) -> Any:
    """What a script prints as JSON, given ``jobs`` as JSON; it writes below ``home`` alone."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(root), version.prefix, *arguments],
        input=json.dumps(jobs), capture_output=True, text=True, check=False,
        env={**os.environ, "BFCL_PROJECT_ROOT": str(home)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def official_verdicts(dialogues: Sequence[Dialogue], root: Path, version: DataVersion) -> list[list[Any]]:
    """``[valid, error type]`` of every episode, from a fresh process that never saw our code."""
    jobs = [
        {"id": d.entry.id, "model": [[[c.text() for c in step] for step in turn.steps] for turn in d.turns]}
        for d in dialogues
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(root), version.prefix],
        input=json.dumps(jobs), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: list[list[Any]] = json.loads(done.stdout)
    return found


def our_verdicts(dialogues: Sequence[Dialogue]) -> list[list[Any]]:
    """The same of ours."""
    verdicts = [d.verdict() for d in dialogues]
    return [[v.valid, v.error_type.value if v.error_type else None] for v in verdicts]
