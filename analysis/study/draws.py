"""What the seeds of a study drew anew, read from the records of its runs, and how arms are compared."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.stats.intervals import Interval, paired_t
from analysis.study.configs import draw_of
from analysis.study.load import Study


def drawn_anew(study: Study) -> list[str]:
    """What differs between the seeds of every arm: of base, training problems, test problems."""
    by_arm = [
        [run for run in arm.runs.values() if run in study.configs] for arm in study.record.arms if arm.runs
    ]
    by_arm = [runs for runs in by_arm if len(runs) > 1]
    found = [] if study.record.shared_base else ["a base"]
    own = [len({draw_of(study.configs[run], "train") for run in runs}) == len(runs) for runs in by_arm]
    if own and all(own):
        found.append("training problems")
    wanted = study.record.primary.get("task") or study.record.primary.get("split") or "test"
    if study.evaluations.empty:
        return found
    frame = study.evaluations[study.evaluations["step"] > 0]
    rows = frame[((frame["task"] == wanted) | (frame["split"] == wanted)) & frame["arm"].notna()]
    tested = [
        len(set(zip(mine["problem_ids"], mine["draw"], strict=True))) == mine["seed"].nunique() > 1
        for _, mine in rows.groupby(["arm", "task"])
    ]
    return [*found, "test problems"] if tested and all(tested) else found


def what_varies(study: Study) -> str:
    """Sentence that says what intervals over seeds vary and what they hold fixed."""
    own = drawn_anew(study)
    fixed = [name for name in ("training problems", "test problems") if name not in own]
    if not own:
        text = "training and rollout seeds only; problems are fixed, and so is the shared base"
    else:
        listed = " and ".join([", ".join(own[:-1]), own[-1]] if len(own) > 1 else own)
        text = f"seeds, each with {listed} of its own; "
        text += (
            "problems are fixed"
            if len(fixed) == 2
            else " and ".join([*fixed, "families of problems are fixed"])
        )
        text += "" if "a base" in own else ", and so is the shared base"
    if study.choices:
        return f"{text}; each seed chose its learning rate on its own validation, so that the choice varies"
    if study.record.pilot:
        return f"{text}; the choice of the learning rate, made once for all seeds, is left out"
    return text


def t_over_seeds(study: Study, values: Sequence[float], level: float) -> Interval | None:
    """Mean of one value a seed with Student's t interval; None without a value."""
    return paired_t(values, level=level, varies=what_varies(study)) if values else None


def limits_text(study: Study) -> str:
    """`They say nothing about other bases`: what lies outside what the intervals vary."""
    own = drawn_anew(study)
    problems = "other families of problems" if "test problems" in own else "other problems or other data"
    bases = "bases made another way" if "a base" in own else "other bases"
    return f"They say nothing about {problems}, nor about {bases}."


def is_paired(study: Study) -> bool:
    """Whether arms are compared by per-seed differences, by the rule that the launch wrote down.

    Unpaired: one base and one set of problems for all seeds, where pairing only costs degrees of freedom.
    Studies from before that rule are paired.
    """
    return study.record.declared.get("pairing") != "unpaired"


def method_text(study: Study) -> str:
    """`paired by seed`, or how else arms are compared; where looks added seeds, that this is allowed for."""
    how = "paired by seed" if is_paired(study) else "unpaired (Welch), as seeds share base and problems"
    return how if study.looks is None else f"{how} and adjusted for the looks at which seeds were added"
