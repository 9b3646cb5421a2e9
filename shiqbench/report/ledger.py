"""The ledger of fairness: what each cell cost, how its settings were found, on which data and machine."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

from shiqbench.base.digest import short
from shiqbench.base.words import counted, listed
from shiqbench.report.defaults import Defaults, hyper_parameters
from shiqbench.report.numbers import amount
from shiqbench.report.rows import TextTable
from shiqbench.store.labels import brief
from shiqbench.store.tuned import read_tuned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from shiqbench.plugin.registry import Registry
    from shiqbench.report.rows import Block, Report, Row
    from shiqbench.store.index import CellEntry, EvaluationEntry, Index
    from shiqbench.store.tuned import Tuned

KINDS = ("policy", "mismatched", "reference", "rollouts")  # of tokens, by pass
MOST = 4  # settings that are listed one by one
FORMULA = (
    "FLOPs: (4 N + 2 T) x tokens of the policy's passes + 2 N x tokens of passes without gradient (mismatched, "
    "reference, rollouts), with N parameters of which T are trained; 6 N a token where all are, less for LoRA and top "
    "layers; an upper estimate: shared prefixes, cached references and layers below the lowest trained one cost less"
)


class Ledger:
    """Answers what each cell cost and how it was tuned.

    Args:
        index: Index of the results.
        found: Registry; an algorithm or task that is not there has unknown defaults.
    """

    def __init__(self, index: Index, found: Registry) -> None:
        self._index = index
        self._tuned, self.wrong = read_tuned(index.results)
        self._trials = {cell for each in self._tuned for cell in each.trials}
        self._chosen: dict[str, list[Tuned]] = {}
        self._defaults = Defaults(found)

    def is_trial(self, evaluation: EvaluationEntry) -> bool:
        """Whether this is the evaluation of a trial of tuning, on validation or, for exact tasks, on its instances."""
        return _name(evaluation.cell) in self._trials and evaluation.split in ("", "validation")

    def trials(self, cell: CellEntry) -> int:
        """Number of trials among which the settings of this cell were chosen; 0 if they were not."""
        return len({trial for each in self._choices(cell) for trial in each.trials})

    def tuned_files(self, cell: CellEntry) -> list[str]:
        """The files, below the results folder, of the choices that this cell follows or is a trial of."""
        followed = self._choices(cell)
        return [t.file for t in self._tuned if t in followed or _name(cell) in t.trials]

    def preset_trials(self, cell: CellEntry) -> int | None:
        """Number of settings among which the values of the nearest preset were chosen; None if it is not known."""
        return self._defaults.chosen_with(cell.recipe)

    def how_set(self, cell: CellEntry) -> str:
        """Where the hyper-parameters come from: ``default`` is the algorithm's and one preset's of the task."""
        if cell.seed is None:
            return "-"
        chosen = {k: v for each in self._choices(cell) for k, v in each.chosen.items()}
        by_hand = self._defaults.differing(cell.recipe)
        said = [f"tuned: {_listed(chosen)}"] if chosen else []
        if by_hand is None:
            return "; ".join([*said, "others unknown" if chosen else "unknown"])
        rest = {k: v for k, v in by_hand.items() if k not in chosen}
        text = "; ".join([*said, *([f"by hand: {_listed(rest)}"] if rest else [])]) or "default"
        trials = self.preset_trials(cell)
        return text if trials is None else f"{text} (preset chosen with {counted(trials, 'trial')})"

    def choices(self, rows: Sequence[Row]) -> list[str]:
        """Which of these rows, trials, were chosen; one line each."""
        said = [(r.name, self.trials(r.evaluations[0].cell)) for r in rows]
        return [f"chosen: {name}, the best of {n} trials" for name, n in said if n]

    def _choices(self, cell: CellEntry) -> list[Tuned]:
        key = cell.recipe.key
        if key not in self._chosen:
            self._chosen[key] = [t for t in self._tuned if self._is_choice(t, cell)]
        return self._chosen[key]

    def _is_choice(self, tuned: Tuned, cell: CellEntry) -> bool:
        """Whether a cell has what tuning chose: the same settings for the same algorithm, task and model."""
        recipe = cell.recipe.value
        if (tuned.algorithm, tuned.task) != (recipe["algorithm"]["name"], recipe["task"]["name"]):
            return False
        of_trials = {k: c for k in tuned.trials if (c := self._index.cells.get(f"{_above(cell)}/{k}")) is not None}
        best = [c for k, c in of_trials.items() if tuned.trials[k] == tuned.chosen]
        if any(c.recipe.key == cell.recipe.key for c in best):
            return True
        same_model = recipe["model"] == best[0].recipe.value["model"] if best else tuned.model in (None, cell.model)
        mine = hyper_parameters(recipe)
        return same_model and all(k in mine and mine[k] == v for k, v in {**tuned.under, **tuned.chosen}.items())

    def rows(self) -> list[dict[str, Any]]:
        """A row per finished cell; None is what is not known."""
        engines: dict[str, set[str]] = defaultdict(set)
        for e in self._index.evaluations.values():
            engines[e.cell.folder].add(e.engine)
        return [
            {
                "cell": c.folder,
                "task": c.recipe.value["task"]["name"],
                "algorithm": c.algorithm,
                "row": short(c.recipe.key),
                "seed": c.seed,
                "start": c.start or c.model,
                "updates": c.budget.get("updates"),
                **{f"{kind}_tokens": c.pass_tokens.get(kind, 0) if c.seed is not None else None for kind in KINDS},
                "parameters": c.parameters,
                "trained_parameters": c.trained_parameters,
                "flops": flops(c),
                "train_seconds": c.seconds,
                "hardware": c.hardware or None,
                "tuning_trials": self.trials(c) if c.seed is not None else None,
                "is_trial": _name(c) in self._trials,
                "hyper_parameters": self.how_set(c),
                "data": data_of(c),
                "engines": ", ".join(sorted(engines[c.folder])) or None,
                "shiqbench": c.version or None,
            }
            for c in self._index.cells.values()
        ]

    def frame(self) -> pd.DataFrame:
        """A row per finished cell.

        Columns: ``cell`` (folder), ``task``, ``algorithm``, ``row`` (equal for the seeds of one recipe), ``seed``,
        ``start``, ``updates``, ``policy_tokens``, ``mismatched_tokens``, ``reference_tokens``, ``rollouts_tokens``,
        ``parameters``, ``trained_parameters``, ``flops``, ``train_seconds``, ``hardware``, ``tuning_trials``,
        ``is_trial``, ``hyper_parameters``, ``data`` (short sha256), ``engines`` (of its evaluations), ``shiqbench``
        (version). What is not known, or does not exist without training, is NA.
        """
        import pandas as pd

        rows = self.rows()
        whole = ("seed", "updates", *(f"{k}_tokens" for k in KINDS), "parameters", "trained_parameters")
        return pd.DataFrame(rows).astype(dict.fromkeys((*whole, "tuning_trials"), "Int64") if rows else {})


def flops(cell: CellEntry) -> float | None:
    """Estimated floating-point operations of a training; None where the number of parameters is not known."""
    n, trained = cell.parameters, cell.trained_parameters
    if n is None or trained is None:
        return None
    policy = cell.pass_tokens.get("policy", 0)
    return float((4 * n + 2 * trained) * policy + 2 * n * (cell.train_tokens - policy))


def data_of(cell: CellEntry) -> str:
    """The sha256 of a cell's data in short form; ``-`` if it reads none."""
    data = cell.recipe.value["task"].get("data") or {}
    hashes = {k: v for k, v in data.items() if "sha256" in k} or data
    return ", ".join(brief(v) for _, v in sorted(hashes.items())) or "-"


def trained_rows(blocks: Sequence[Block]) -> dict[str, Row]:
    """Each trained recipe by its key, in the row with the most seeds; trials of tuning are left out."""
    rows: dict[str, Row] = {}
    for r in (r for b in blocks if not b.trials for r in b.rows if r.trained):
        key = r.evaluations[0].cell.recipe.key
        rows[key] = max(rows.get(key, r), r, key=lambda found: len(found.seeds))
    return rows


def ledger_tables(report: Report) -> list[TextTable]:
    """The ledger's summary, a line per trained row of the report; empty if there is none."""
    import pandas as pd

    ledger = report.ledger
    rows = trained_rows(report.blocks)
    if ledger is None or not rows:
        return []
    engines: dict[str, dict[str, None]] = defaultdict(dict)
    for block, r in ((b, r) for b in report.blocks if not b.trials for r in b.rows if r.trained):
        engines[r.evaluations[0].cell.recipe.key][block.engine] = None
    columns = _columns(ledger, list(rows.values()))
    columns["engine"] = [", ".join(engines[key]) for key in rows]
    equal = {head: found[0] for head, found in columns.items() if head not in KEPT and len(set(found)) == 1}
    same = [f"in all rows: {'; '.join(_of_all(*each) for each in equal.items())}"] if equal else []
    frame = pd.DataFrame({head: found for head, found in columns.items() if head not in equal})
    known = any(value != "-" for value in columns["FLOPs"])
    cells = [r.evaluations[0].cell for r in rows.values()]
    cells = [c for c in cells if ledger.preset_trials(c) is None and not ledger.how_set(c).endswith("unknown")]
    unknown = sorted({c.recipe.value["task"]["name"] for c in cells})
    tried = [f"how many trials chose the values of the preset is unknown: {', '.join(unknown)}"] if unknown else []
    return [TextTable("Ledger: what training cost", frame, [*same, *[FORMULA] * known, *tried])]


KEPT = ("algorithm", "seeds", "updates", "tuning trials", "settings")  # columns that are never put into a note


def _columns(ledger: Ledger, rows: Sequence[Row]) -> dict[str, list[str]]:
    """The columns of the summary, means over the seeds of a row."""

    def each(what: Callable[[CellEntry], Any]) -> list[str]:
        """One text per row, of all its cells."""
        return ["; ".join(dict.fromkeys(str(what(e.cell) or "unknown") for e in r.evaluations)) for r in rows]

    def mean(what: Callable[[CellEntry], float | None]) -> list[str]:
        found = [[what(e.cell) for e in r.evaluations] for r in rows]
        return ["-" if None in v else amount(fmean(x for x in v if x is not None)) for v in found]

    kinds = [k for k in KINDS if any(k in r.pass_tokens for r in rows)]
    return {
        "algorithm": [r.name for r in rows],
        "trained on": each(lambda c: c.recipe.value["task"]["name"]),
        "seeds": [str(len(r.seeds)) for r in rows],
        "updates": mean(lambda c: c.budget.get("updates")),
        **{f"{k} tokens": [amount(r.pass_tokens.get(k, 0)) for r in rows] for k in kinds},
        "FLOPs": mean(flops),
        "train s": mean(lambda c: c.seconds),
        "tuning trials": [str(ledger.trials(r.evaluations[0].cell) or "none") for r in rows],
        "settings": [ledger.how_set(r.evaluations[0].cell) for r in rows],
        "hardware": each(lambda c: c.hardware),
        "data": each(data_of),
        "start": each(lambda c: c.start or c.model),
        "shiqbench": each(lambda c: c.version),
    }


def _of_all(head: str, value: str) -> str:
    if value == "-":
        return "no data files" if head == "data" else f"no {head}"
    return f"{head}: {value}"


def _listed(settings: Mapping[str, Any]) -> str:
    return listed([f"{k.partition('.')[2]}={brief(v)}" for k, v in sorted(settings.items())], MOST)


def _name(cell: CellEntry) -> str:
    return cell.folder.rpartition("/")[2]


def _above(cell: CellEntry) -> str:
    return cell.folder.rpartition("/")[0]
