"""What the seed claimed, each claim judged by its rule from the committed studies' files alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.report import claim_rules
from analysis.report.claim_bases import by_kind, with_parameters
from analysis.report.claim_derivations import derivations
from analysis.report.claim_discovery import self_evolution
from analysis.report.claim_distillation import distillation
from analysis.report.claim_words import UNDECIDED, Rule
from analysis.report.committed import SMOKE_SEEDS, Committed

NOT_RUN = "not run"
OLDER = "The study is older and decides nothing: one draw of problems and one pilot served all its seeds."


@dataclass(frozen=True)
class Claim:
    """A claim, the studies that can decide it, best first, the rule, and where it might come out otherwise.

    Without a `decide` no study has decided it yet.
    """

    text: str
    studies: tuple[str, ...]
    rule: str
    larger: str
    decide: Rule | None = None


CLAIMS = (
    Claim(
        "Cause 1: a conservative objective (clipping, a KL penalty) makes the gain",
        ("conservative",),
        "supported if one of them is better than neither, by more than the margin of a quarter of the gain; "
        "refuted if both are equivalent to it, or worse; of samples at temperature 1 alone where greedy "
        "answers have no gain without them",
        "long runs at high rates, where the same terms may decide whether a run survives",
        claim_rules.conservative,
    ),
    Claim(
        "Cause 2: a large policy makes the gain",
        ("size", "model_size"),
        "of bases of equal accuracy (`size`), supported if ten times the parameters add more than a quarter "
        "of the mean gain at own best temperatures, refuted if they do not; of bases of equal documents, "
        "supported if sampled and greedy gains both grow and the largest model has a greedy gain, refuted if "
        "neither grows",
        "sizes from 0.1 to 30 billion with bases of equal accuracy",
        with_parameters,
    ),
    Claim(
        "Cause 3: many steps make the gain",
        ("step_count",),
        "supported if sampled and greedy accuracy both grow with steps and the most steps give a greedy "
        "gain; refuted if neither grows",
        "thousands of steps on problems that the base cannot yet solve",
        claim_rules.with_steps,
    ),
    Claim(
        "Cause 3: diverse problems make the gain",
        ("diversity",),
        "supported if sampled and greedy gains both grow with the problems and the most problems give a "
        "greedy gain; refuted if neither grows",
        "millions of problems of many fields",
        claim_rules.grows_with("data.num_distinct", "different problems"),
    ),
    Claim(
        "Doubt 1: the gain does not reach problems that training has not seen",
        ("transfer", "conservative"),
        "at own best temperature, supported if untrained families gain less than a quarter of what trained "
        "ones do (upper end); refuted if they gain more than half (lower end)",
        "benchmarks published after the model's training data were collected",
        claim_rules.generalises,
    ),
    Claim(
        "Doubt 2: answers become right, derivations do not",
        (
            *("step_count", "conservative", "bridge", "diversity", "distillation", "data_kind", "frontier"),
            *("learning_check", "model_size", "r1_stages", "transfer", "self_evolution"),
        ),
        "supported if the share of valid derivations falls in an arm that is paid by right answers or taught "
        "them; refuted if it falls by less than 2 points in all (lower end); supported for families of which "
        "bases have seen no whole solution, where right answers gain more than valid chains (intervals "
        "apart). At first four control arms alone were read: by these it is refuted",
        "proofs, where a right answer is no evidence for the steps",
        derivations,
    ),
    Claim(
        "GRPO is hardly different from fine-tuning on the model's own right answers",
        ("step_count", "model_size", "bridge"),
        "supported if the two are equivalent in each study and greedy answers tell no difference; refuted if "
        "one is better in any",
        "a model that explores more than it has seen, where wrong answers carry information",
        claim_rules.thesis,
    ),
    Claim(
        "Self-evolution: answers alone lead a model to derivations that no one showed it",
        ("self_evolution",),
        "shown if, at some size, right answers by a valid chain rise by 10 points or more over the base at "
        "its own best temperature and pass@1 exceeds the base's pass@256 on 10 % of the problems or more, "
        "and neither holds of a memoriser or a coin flip; refuted at this scale if the base overtakes within "
        "256 samples and no solution has a form that it lacks; nothing is decided where its pass@256 is not "
        "within that reach, 5 to 30 %, in the mean over bases. Families one by one, each base and the coin "
        "flip are read since the study has run; bare answers have no chains: the memoriser cannot fail. The "
        "two families were chosen by pilots on bases of seeds 0 and 1, which showed this pattern",
        "the same design on a pretrained model with composites that its corpus lacks",
        self_evolution,
    ),
    Claim(
        "A small model learns more from a larger one's outputs than from its own reinforcement learning",
        ("distillation", "distillation_flops"),
        "supported if the student of the larger teacher after RL (`large_rl`) is above its own RL by more "
        "than a quarter of that one's gain; refuted if it is not; undecided where greedy answers, or each "
        "model's own best temperature, say the opposite, or (added after the study had run, and without it "
        "the word is refuted) where the student trained on fewer than half of the tokens of its own RL",
        "a 135M student and a teacher of several billion parameters",
        distillation,
    ),
    Claim(
        "Reasoning keeps improving with steps where general tasks level off (DeepSeek-V2)",
        ("steps_by_kind",),
        "over the last three octaves of steps, from bases at 30 %, supported if reasoning's slope (log odds "
        "of a right answer at own best temperatures) is above that of general tasks by more than a quarter "
        "of itself; refuted if it is not above; undecided where greedy answers say the opposite",
        "thousands of steps on a pretrained model",
        by_kind,
    ),
)


def claims_section(studies: Sequence[Committed]) -> list[str]:
    """The section of the findings page: a paragraph a claim. Smoke tests decide nothing."""
    known = {study.name: study for study in studies if study.seeds > SMOKE_SEEDS}
    return [
        "## What the seed claimed",
        "This project began from a text with three causes, two doubts, and remarks of its author on GRPO, on "
        "self-evolution and on distillation. Each is judged by the rule beside it, at the size of these "
        "studies: transformers of 0.2 to 10 million parameters on generated problems. Rules were written, or "
        "made stricter, after most of these studies had run; where a word hangs on that, the rule says so. "
        "Unless a sentence says otherwise, accuracy is that of samples at temperature 1.",
        *(_paragraph(claim, [known[name] for name in claim.studies if name in known]) for claim in CLAIMS),
    ]


def _paragraph(claim: Claim, studies: Sequence[Committed]) -> str:
    found = claim.decide(studies) if claim.decide and studies else None
    word, said = found or (NOT_RUN, f"Preset: `ablation={claim.studies[0]}`.")
    if found and any(study.plan["declared"].get("draws") != "per_seed" for study in studies[:1]):
        word, said = UNDECIDED, f"{said} {OLDER}"
    used = [study for study in studies if f"`{study.name}`" in said] or studies[:1] if found else []
    links = ", ".join(f"[{study.name}]({study.name}/report.md)" for study in used)
    return (
        f"**{claim.text}: {word}.** {said}{f' {links}.' if links else ''} Rule: {claim.rule}. It may come "
        f"out otherwise with {claim.larger}."
    )
