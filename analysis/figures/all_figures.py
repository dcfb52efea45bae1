"""Every figure of a study, in the report's order."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.figures.accuracy import checkpoints, compute, differences, ordered
from analysis.figures.anatomy import anatomy
from analysis.figures.discovery import discovery
from analysis.figures.evaluations import decomposition, derivations, kept, splits
from analysis.figures.families import families
from analysis.figures.figure import Figure
from analysis.figures.problems import problems
from analysis.figures.search import search_curves, search_tree
from analysis.figures.stages import stages
from analysis.figures.training import diagnostics, learning_curves, learning_rates, process_rewards
from analysis.study.contrasts import ArmResult, Primary
from analysis.study.load import Study


def all_figures(study: Study, primary: Primary, results: Sequence[ArmResult]) -> list[Figure]:
    """Figures that the study has data for."""
    made = [
        anatomy(study, primary),
        discovery(study, primary),
        differences(study, primary, results),
        stages(study, primary, results),
        families(study, primary, results),
        learning_rates(study, primary),
        learning_curves(study, primary),
        checkpoints(study, primary),
        ordered(study, primary, results),
        diagnostics(study),
        compute(study, primary, results),
        decomposition(study, results),
        splits(study, primary, results),
        kept(study, primary, results),
        derivations(study, primary, results),
        process_rewards(study),
        problems(study, primary, results),
        search_curves(study, primary),
        search_tree(study),
    ]
    return [figure for figure in made if figure is not None]
