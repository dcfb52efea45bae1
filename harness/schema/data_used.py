"""What reads each setting of the data, and what to do with one that nothing reads."""

from __future__ import annotations

from typing import Any

from harness.schema.section import Used
from harness.schema.source_config import OWN_USED

USED: tuple[Used[Any], ...] = (
    Used(
        ("path",),
        lambda c, run: c.dataset == "jsonl",
        "dataset={c.dataset} reads no file; add data=jsonl, or leave it out",
    ),
    *OWN_USED,
    Used(
        ("families",),
        lambda c, run: c._is_generated or (run.model.is_ladder and not any(c._families_of_parts)),
        "dataset={c.dataset} is not generated, and model={run.model.name} is not pretrained on families; "
        "leave it out",
    ),
    Used(
        ("style",),
        lambda c, run: c._is_generated or (c.families and run.model.is_ladder),
        "dataset={c.dataset} is not generated, and nothing is pretrained on its families; leave it out",
    ),
    Used(
        ("heldout_families",),
        lambda c, run: c._is_generated,
        "dataset={c.dataset} is not generated: its own split heldout is taken; leave it out",
    ),
    Used(
        ("pretrain_heldout",),
        lambda c, run: c.heldout_families and run.model.is_ladder,
        "it takes heldout_families and a base that is pretrained here; name them with a ladder model, or "
        "leave it out",
    ),
    Used(
        ("distinct_by",),
        lambda c, run: c.num_distinct,
        "data.num_distinct is not given; set it, or leave this out",
    ),
    Used(
        ("answer_range",),
        lambda c, run: c.is_own,
        "only answers of a file, the hub or a function are checked, and this is dataset={c.dataset}; "
        "leave it out",
        idle=(None, (0, 999)),
    ),
    Used(
        ("bad_rows",),
        lambda c, run: not (c._is_generated or c._is_mixture),
        "dataset={c.dataset} has no rows of its own; of a mixture, give it to data.components.<name>",
    ),
    Used(
        ("order",),
        lambda c, run: not c._is_mixture,
        "a mixture's parts have an order each; give it to data.components.<name>",
    ),
    Used(
        ("data_seed",),
        lambda c, run: c._draws or not (c._is_mixture or c.dataset in ("jsonl", "function")),
        "there is no data.order=seeded, num_distinct, num_families or dose; set one, leave it "
        "out, or give it to data.components.<name> of a mixture",
    ),
    Used(
        ("fresh",),
        lambda c, run: (c._is_generated or c._is_mixture) and run.objective.offline is None,
        "only generated problems are sampled without end, during training; leave it out",
    ),
    Used(
        ("drop_share",),
        lambda c, run: c.drop_contaminated or c.perturb_draws,
        "no data.drop_contaminated or perturb_draws is given; give one, or leave it out",
    ),
)
