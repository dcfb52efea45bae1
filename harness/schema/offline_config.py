"""The schema of offline training: outputs that are there before it begins. Imports no torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.schema.section import Check, Positive, Section

Form = Literal["natural", "equations", "answer"]
Format = Literal["plain", "r1"]


class OfflineConfig(Section):
    """Sample everything once before training, or take the problems' own solutions; train on the accepted."""

    epochs: Positive
    """Passes over the accepted outputs."""
    batch_size: Positive
    """Outputs in one step."""
    sampler: Literal["base", "teacher", "reference"] = "base"
    """Model that samples. reference: none; each training problem's own solution is its one output."""
    form: Form = "natural"
    """Solutions as they stand, without annotations; equations: GSM8K's annotated calculations alone, one a
    line (harness/data/references.py); or the answer alone, for a model that memorises. For
    sampler=reference."""
    format: Format = "plain"
    """plain: the derivation, then the answer as the prompt asks for it. r1: `<think> derivation </think>
    <answer> answer </answer>` (arXiv:2501.12948 table 1). For sampler=reference."""

    checks: ClassVar[tuple[Check[OfflineConfig], ...]] = (
        Check(
            lambda c: c.sampler != "reference" and (c.form, c.format) != ("natural", "plain"),
            "form={c.form}, format={c.format} mean nothing to sampler={c.sampler}; use sampler=reference",
        ),
    )
