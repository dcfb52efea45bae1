"""The schema of a run's problems. Imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.grading.find.extraction import Rule
from harness.records.records import GENERATED
from harness.schema.corpus_config import Level
from harness.schema.data_used import USED
from harness.schema.own_function import OwnFunction
from harness.schema.prompts import TemplateName
from harness.schema.section import Check, Name, NonNegative, NonNegativeFloat, Positive, Section, Used
from harness.schema.source_config import (
    OWN_CHECKS,
    OWN_SETS,
    ColumnsConfig,
    HubSplitsConfig,
    fault_of_pattern,
)

Published = Literal[
    "gsm8k",
    "gsm8k_perturbed",
    "math",
    "aime_1983_2023",
    "amc23",
    "aime24",
    "aime25",
    "aime26",
    "hmmt_feb25",
    "hmmt_nov25",
    "hmmt_feb26",
    "math500",
    "olympiadbench",
    "minerva",
    "deepscaler",
    "dapo_17k",
    "humaneval",
    "mbpp",
]
Dataset = Literal["aime_gen", "general", "code_gen", "mixture", "jsonl", "hub", "function", Published]
SPLITS = ("train", "perturbed", "validation", "test", "heldout")


class DoseConfig(Section):
    """A control arm: evaluation problems take the place of as many training problems."""

    dataset: Literal[Published, "own_test"]
    """Evaluation set; own_test is the test split of the training data itself."""
    percent: Annotated[float, Field(gt=0, le=100)]
    """Part of the evaluation set that is put into the training data, in percent."""


class DataConfig(Section):
    """The problems of a run: where they come from, and which of them are taken.

    A mixture has components, each a DataConfig; their weights share out `num_train`, and every other split is
    the components' own, in turn, whatever the weights.
    """

    name: Name
    """What tables call the data."""
    dataset: Dataset
    """A module of harness/data; jsonl: the file at `path`; hub: `hub_id`; function: the rows that `function`
    gives; mixture: the sum of `components`."""
    template: TemplateName
    """Text around each problem (harness/schema/prompts.py)."""
    answer_rules: list[Rule] = Field(min_length=1)
    """Places where the grader looks for an answer, in this order."""
    answer_range: tuple[int, int] | None
    """Smallest and largest integer that an answer may be; null: any answer."""
    symbolic: bool = True
    """Compare answers that are not plain numbers as formulas."""
    families: list[str] = Field(default=[])
    """Families of generated problems. With another set: what a from-scratch base is pretrained on, with these
    `levels` and in this `style`, which do not filter the set's own problems then."""
    heldout_families: list[str] = Field(default=[])
    """Families of the split heldout, which training never sees."""
    pretrain_heldout: bool = False
    """Pretrain a from-scratch base on `heldout_families` too: heldout then asks about families that the base
    knows and training leaves out, else about families that nothing has seen."""
    levels: list[Level] = Field(default=[])
    """Levels of difficulty that are taken; empty: all."""
    style: Literal["full", "terse"] = "full"
    """Statements of generated problems in full sentences, or terse."""
    data_seed: int = 0
    """Seed of everything that chooses problems: validation, order, diversity, dose."""
    num_train: NonNegative | None = None
    """Training problems. null, here and below: all of a published set or a file, none of a generated one."""
    num_validation: NonNegative | None = None
    """Validation problems."""
    num_test: NonNegative | None = None
    """Test problems."""
    num_heldout: NonNegative | None = None
    """Problems of `heldout_families`."""
    path: str | None = None
    """JSON Lines file of dataset=jsonl."""
    hub_id: str | None = None
    """Data set of the hub, owner/name, or a folder in its layout; of dataset=hub."""
    hub_config: str | None = None
    """Configuration of that data set (GSM8K's is main); null: the only one."""
    hub_revision: str | None = None
    """Branch, tag or commit of that data set; null: main. Its content, not its name, names a run."""
    hub_splits: HubSplitsConfig = HubSplitsConfig()
    """Splits of that data set by ours, where their names differ."""
    function: OwnFunction | None = None
    """A function of your own, `() -> rows`, of dataset=function; a row is one of a JSON Lines file."""
    columns: ColumnsConfig = ColumnsConfig()
    """Columns of a file, the hub or a function by ours, where their names differ."""
    answer_pattern: str | None = None
    """Regular expression that finds the answer in its column; the last place counts. GSM8K: `#### (.+)`."""
    subjects: list[str] = Field(default=[])
    """Topics of problems that are not generated; empty: all."""
    bad_rows: Literal["stop", "leave_out"] = "stop"
    """Malformed rows stop the run, or are left out and named in the run's data.json."""
    order: Literal["source", "seeded"] = "source"
    """Order from which num_train takes the first: the file's, or shuffled by `data_seed`."""
    deduplicate: bool = False
    """Leave out training problems with the words, numbers and signs of an earlier one."""
    num_distinct: Positive | None = None
    """Make the num_train problems copies of this many different ones; null: all differ."""
    distinct_by: Literal["length", "order"] = "length"
    """Which ones. length: some of about the mean length of all. order: the first; of generated problems they
    are balanced over families and levels, and fewer are part of more."""
    num_families: Positive | None = None
    """Take the num_train problems from this many families or subjects; null: from all."""
    fresh: bool = False
    """No problem is trained on twice: the launch refuses a num_train below what all steps sample."""
    drop_contaminated: list[Published] = Field(default=[])
    """Evaluation sets whose problems no training problem may share (harness/data/contamination.py)."""
    drop_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of an evaluation problem's 13-grams from which on a training problem is left out."""
    perturb_draws: NonNegative = 0
    """Most twins with other numbers that each GSM8K training problem adds to the training problems, beyond
    num_train; those too near a test or validation problem (`drop_share`) are left out."""
    dose: DoseConfig | None = None
    """Evaluation problems to put into the training data, as a control; null: none."""
    components: dict[Name, DataConfig] = Field(default={})
    """Parts of a mixture by name; each takes the preset of its name, or of its `preset`."""
    weight: NonNegativeFloat | None = None
    """Share of a mixture's num_train; only a component has one."""

    def size(self, split: str) -> int | None:
        """The number of problems asked of a split; `perturbed` has one for each training problem."""
        return {
            "train": self.num_train,
            "perturbed": self.num_train,
            "validation": self.num_validation,
            "validation_perturbed": None if self._is_generated else self.num_validation,
            "test": self.num_test,
            "heldout": self.num_heldout,
        }[split]

    @property
    def is_own(self) -> bool:
        """Whether the rows are the user's: a file's, the hub's or a function's."""
        return self.dataset in OWN_SETS

    @property
    def fault_of_pattern(self) -> str:
        """What is wrong with `answer_pattern`; "" where nothing is."""
        return fault_of_pattern(self.answer_pattern) if self.answer_pattern is not None else ""

    @property
    def _is_generated(self) -> bool:
        return self.dataset in GENERATED

    @property
    def _is_mixture(self) -> bool:
        return self.dataset == "mixture"

    @property
    def _draws(self) -> bool:
        """Whether `data_seed` chooses problems of a set that has its splits already."""
        seeded = self.order == "seeded" and not self._is_mixture
        return seeded or self.dose is not None or bool(self.num_distinct or self.num_families)

    @property
    def _families_of_parts(self) -> list[list[str]]:
        return [part.families for part in self.components.values()]

    @property
    def _fewer(self) -> str:
        """`num_distinct=8`: the setting that makes the problems fewer; "" without one."""
        given = [f"{name}={n}" for name in ("num_distinct", "num_families") if (n := getattr(self, name))]
        return given[0] if given else ""

    @property
    def _shown_weights(self) -> str:
        return ", ".join(f"{name} {part.weight}" for name, part in self.components.items())

    @property
    def _total_weight(self) -> float:
        return sum(part.weight or 0.0 for part in self.components.values())

    checks: ClassVar[tuple[Check[DataConfig], ...]] = (
        Check(
            lambda c: c.dataset == "jsonl" and c.path is None,
            "path=null with dataset=jsonl; give the file: data.path=/folder/problems.jsonl",
        ),
        *OWN_CHECKS,
        Check(
            lambda c: "program" in c.answer_rules and len(c.answer_rules) > 1,
            "answer_rules={c.answer_rules}: a program is no answer among others; set [program] alone",
        ),
        Check(
            lambda c: c._is_generated and not c.families,
            "families={c.families} with dataset={c.dataset}, which needs it; name some, as in conf/data/",
        ),
        Check(
            lambda c: c._is_generated and not c.levels,
            "levels={c.levels} with dataset={c.dataset}, which needs it; name some, as in conf/data/",
        ),
        Check(
            lambda c: c._is_generated and c.num_train is None,
            "num_train=null with dataset={c.dataset}, which needs it; make it at least 1",
        ),
        Check(
            lambda c: c._is_generated and c.num_train == 0,
            "num_train=0 with dataset={c.dataset}, which needs it; make it at least 1",
        ),
        Check(
            lambda c: c._is_generated and c.subjects,
            "subjects={c.subjects} with dataset={c.dataset}: name families instead",
        ),
        Check(
            lambda c: c._fewer and not c.num_train,
            "{c._fewer} with num_train={c.num_train}: it makes a fixed number of problems out of fewer; "
            "set num_train",
        ),
        Check(
            lambda c: c.fresh and (c.num_distinct or c.dose),
            "fresh with num_distinct or dose, which train on problems again; leave one out",
        ),
        Check(
            lambda c: c.num_distinct and c.num_train and c.num_distinct > c.num_train,
            "num_distinct={c.num_distinct} exceeds num_train={c.num_train}; lower it",
        ),
        Check(
            lambda c: c.perturb_draws and c.dataset != "gsm8k",
            "perturb_draws={c.perturb_draws} with dataset={c.dataset}: the rules change GSM8K's problems "
            "alone; use data=gsm8k, or set 0",
        ),
        Check(
            lambda c: c.perturb_draws and (c._fewer or c.dose),
            "perturb_draws={c.perturb_draws} with num_distinct, num_families or dose, which fix what is "
            "trained on; drop one of the two",
        ),
        Check(
            lambda c: any(part.perturb_draws for part in c.components.values()),
            "components: perturb_draws would change their weights; use data=gsm8k alone, or set 0",
        ),
        Check(
            lambda c: c.components and not c._is_mixture,
            "components with dataset={c.dataset}: they make a mixture; data=mixture",
        ),
        Check(
            lambda c: c._is_mixture and not c.components,
            "components={{}} with dataset=mixture; name some: {{gsm8k: 0.5, math: 0.5}}",
        ),
        Check(
            lambda c: c._is_mixture and any(part.weight is None for part in c.components.values()),
            "components: each needs a weight ({c._shown_weights})",
        ),
        Check(
            lambda c: c._is_mixture and abs(c._total_weight - 1) > 1e-6,
            "components: the weights ({c._shown_weights}) do not sum to 1 but to {c._total_weight:g}; "
            "divide each by that",
        ),
        Check(
            lambda c: c._is_mixture and not c.num_train,
            "num_train=null with dataset=mixture: say how many problems the weights share out",
        ),
        Check(
            lambda c: c._is_mixture and any(part.dataset == "mixture" for part in c.components.values()),
            "components: a mixture of mixtures; name their components in one",
        ),
        Check(
            lambda c: c._is_mixture and (c.levels or c.subjects or c.num_families),
            "levels, subjects and num_families of a mixture belong to its components: "
            "data.components.<name>.levels",
        ),
    )

    used: ClassVar[tuple[Used[DataConfig], ...]] = USED
