"""The samples of a step by search: what each problem's search found, with all that it spent."""

from __future__ import annotations

from collections.abc import Sequence

from harness.rollout.search.drive import Judged, Reader, Searcher
from harness.rollout.search.judges import learned, oracle
from harness.rollout.search.methods import taken
from harness.rollout.search.outputs import Found
from harness.seeds import derive
from harness.training.run_state import Run
from harness.types import Problem, Prompt, Rollout, SamplingParams


def searched(run: Run, problems: Sequence[Problem], step: int, *, first_place: int = 0) -> list[Rollout]:
    """`group_size` outputs of each problem's search, under `rollout.search`, from the current policy.

    Simulation i of a problem draws the numbers of the sample i that a run without a search takes. All tokens
    that the searches decode count as sampled, the outputs that are not taken too.
    """
    rollout, config = run.config.rollout, run.config.rollout.search
    assert config is not None
    prompts = [run.prompts[problem.id] for problem in problems]

    def sampled(given: Sequence[Prompt], drawn: Sequence[Rollout]) -> None:
        run.current.progress(f"searched {len(drawn)} more")
        tokens = run.counters.tokens
        tokens["prompt"] = tokens.get("prompt", 0) + sum(len(p.token_ids) for p in given)
        run.count("sampled", given, drawn)

    searcher = Searcher(
        engine=run.engine,
        config=config,
        params=SamplingParams(
            max_new_tokens=rollout.max_new_tokens, temperature=rollout.temperature, logprobs=True
        ),
        reader=Reader(run.decode, tuple(run.config.data.answer_rules)),
        seed=lambda place, simulation: derive(run.seeds["rollout"], step, first_place + place, simulation),
        judge=_judge(run, config.value, problems, prompts),
        policy_step=run.counters.num_updates,
        at_least=rollout.group_size,
        sampled=sampled,
    )
    found = searcher.run(problems, prompts)
    _note(run, found)
    return [
        searcher.rollout(problem, of.outputs[i], sample_idx=place, whole_loss=config.train == "outputs")
        for problem, of in zip(problems, found, strict=True)
        for place, i in enumerate(taken(of, config.take, rollout.group_size))
    ]


def _judge(run: Run, value: str, problems: Sequence[Problem], prompts: Sequence[Prompt]) -> Judged | None:
    data, models = run.config.data, run.learned_rewards
    if value == "oracle":
        rules = tuple(data.answer_rules)
        return oracle(problems, rules=rules, symbolic=data.symbolic, template=data.template)
    model = {"outcome": models.output, "process": models.steps}.get(value)
    return None if model is None else learned(model.score, prompts)


def _note(run: Run, found: Sequence[Found]) -> None:
    """Add to what the step's metrics say of its searches (`search_metrics`)."""
    noted = run.current.searched
    for name, number in (
        ("sampled_tokens", sum(of.sampled for of in found)),
        ("search_outputs", sum(len(of.outputs) for of in found)),
        ("search_nodes", sum(of.num_nodes for of in found)),
        ("problems", len(found)),
    ):
        noted[name] = noted.get(name, 0.0) + number


def search_metrics(run: Run) -> dict[str, float]:
    """Tokens that the step's searches sampled, mean outputs and nodes of one; empties the notes."""
    noted, run.current.searched = run.current.searched, {}
    if not noted:
        return {}
    means = {name: noted[name] / noted["problems"] for name in ("search_outputs", "search_nodes")}
    return {"sampled_tokens": noted["sampled_tokens"], **means}
