"""The data sets by name: published ones, and the generators."""

from __future__ import annotations

from typing import Any

from harness.data import (
    aime24,
    aime25,
    aime26,
    aime_1983_2023,
    aime_gen,
    amc23,
    code_gen,
    dapo_17k,
    deepscaler,
    general,
    gsm8k,
    gsm8k_perturbed,
    hendrycks_math,
    hmmt_feb25,
    hmmt_feb26,
    hmmt_nov25,
    humaneval,
    math500,
    mbpp,
    minerva,
    olympiadbench,
)

# Each has load(split, *, seed, bad_rows) and SOURCES, the file or hub data set behind each split.
PUBLISHED = {
    "gsm8k": gsm8k,
    "gsm8k_perturbed": gsm8k_perturbed,
    "math": hendrycks_math,
    "aime_1983_2023": aime_1983_2023,
    "amc23": amc23,
    "aime24": aime24,
    "aime25": aime25,
    "aime26": aime26,
    "hmmt_feb25": hmmt_feb25,
    "hmmt_nov25": hmmt_nov25,
    "hmmt_feb26": hmmt_feb26,
    "math500": math500,
    "olympiadbench": olympiadbench,
    "minerva": minerva,
    "deepscaler": deepscaler,
    "dapo_17k": dapo_17k,
    "humaneval": humaneval,
    "mbpp": mbpp,
}


GENERATORS: dict[str, Any] = {"aime_gen": aime_gen, "general": general, "code_gen": code_gen}


def generator(dataset: str) -> Any:
    """The module that makes a data set's problems; for one that is read, the generator of reasoning."""
    return GENERATORS.get(dataset, aime_gen)


def version(dataset: str) -> int | str:
    """Version of what `generator` makes, as it stands in hashes."""
    found = generator(dataset).GENERATOR_VERSION
    return f"{dataset} {found}" if dataset in ("general", "code_gen") else found
