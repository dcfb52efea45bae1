"""From command-line overrides to one validated config, by Hydra. Imports no torch.

Each distinct choice of groups is composed once, and plain values are set on copies of it, so that a hundred
runs take seconds.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.launch import pipeline
from harness.launch.composed import check_name, check_only_name, check_sections, check_size, take_choices
from harness.launch.syntax import MAX_RUNS, parse, swept_values
from harness.schema.explain import did_you_mean
from harness.schema.own_function import freeze
from harness.schema.presets import (
    CONF,
    CORPORA,
    check_model_name,
    corpus_settings,
    weighed,
    with_components,
    with_own_presets,
    with_teacher,
)
from harness.schema.run_config import ConfigError, RunConfig, validate
from harness.schema.settings import STAGE_SETTING, is_setting, nearest, suggestion

NO_GROUPS = ("hydra", CORPORA.name)  # a corpus is a setting, which a preset's name or settings may fill
GROUPS = tuple(sorted(p.name for p in CONF.iterdir() if p.is_dir() and p.name not in NO_GROUPS))

OPTIONAL = ("pipeline", "experiment", "ablation")
NO_SETTINGS = ("ablation", "pipeline")  # nodes of a composed config that are no run's
WHOLE = ("data.components", "corpus", "corpus.levels")  # given together; then their fields may be changed
TEACHERS = ("model", "pretrain_steps", "stage")  # what may stand in the place of objective.teacher.path


class Composer:
    """Hydra's compose with a memory: one composition for each distinct choice of groups."""

    def __init__(self, config_dir: str | None = None, *, max_runs: int = MAX_RUNS) -> None:
        self.max_runs = max_runs
        self.extra = Path(config_dir).absolute() if config_dir else None
        if self.extra and not self.extra.is_dir():
            raise ConfigError(f"--config-dir {config_dir}: no such folder")
        if self.extra and not any(self.extra.glob("*/*.yaml")):
            raise ConfigError(f"--config-dir {config_dir}: no GROUP/NAME.yaml in it (objective/mine.yaml)")
        # What a command needs to find the same groups again.
        self.flags = [f"--config-dir={config_dir}"] if config_dir else []
        self.search = [f"hydra.searchpath=[file://{self.extra}]"] if self.extra else []
        self.cache: dict[tuple[str, ...], DictConfig] = {}
        self.choices: dict[tuple[str, ...], dict[str, str]] = {}  # of each in the cache: group -> option
        self.defaults: dict[str, None] = {}  # overrides that pretrained models of this launch called for
        # (draws, overrides but for the seed) -> (what its model calls for, what draws its problems)
        self.called_for: dict[tuple[str, ...], tuple[list[str], list[str]]] = {}
        for path in sorted(self.extra.glob("*/*.yaml")) if self.extra else []:
            check_size(path)

    def options(self, group: str) -> list[str]:
        """The options of a group: the YAML files of conf/ and of the user's own folder."""
        roots = [CONF, *([self.extra] if self.extra else [])]
        return sorted({p.stem for root in roots for p in (root / group).glob("*.yaml")})

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Raises ConfigError for a malformed override, or one that names no group, option or field."""
        parsed = parse(overrides)
        for override in parsed:
            self.check(override)
        return parsed

    def file(self, group: str, option: str) -> Path:
        """The YAML file of a group's option; conf/ comes before the user's own folder."""
        own = self.extra / group / f"{option}.yaml" if self.extra else None
        path = CONF / group / f"{option}.yaml"
        return own if own is not None and not path.exists() else path

    def values(self, override: Override) -> list[str]:
        """Every value that an override gives its key, as text. Raises ConfigError for a sweep without."""
        key = own_key(override)
        if override.is_sweep_override():
            options = self.options(key) if key in GROUPS else []
            return swept_values(override, options, max_runs=self.max_runs)
        value = override.value()
        given = value if isinstance(value, list) and may_choose(override) else [value]
        return ["null" if v is None else str(v) for v in given]

    def check(self, override: Override, factors: Sequence[str] = ()) -> None:
        """Raise ConfigError for an override that names no group, option or field.

        `factors` are other names that a user may have meant, for the message.
        """
        key = own_key(override)
        if key.split("/")[0].split(".")[0] == "hydra":
            return
        if key in GROUPS:
            for value in self.values(override):
                if (value != "null" or key not in OPTIONAL) and value not in self.options(key):
                    hint = suggestion(key, value) or did_you_mean(value, self.options(key))
                    raise ConfigError(f"{key}={value}: no such option{hint}")
        elif not is_setting(key):
            raise ConfigError(f"{override.input_line}: no setting {key}{nearest(key, [*GROUPS, *factors])}")

    def raw(self, overrides: Sequence[str]) -> DictConfig:
        """The composed config, unresolved. Group choices hit Hydra; plain values are set on a copy.

        Settings of a pipeline's stage are left out.
        """
        composed, choices, plain = self._composed(pipeline.split_lines(overrides).every)
        config = pickle.loads(pickle.dumps(composed))  # a copy in a fifth of the time of .copy()
        self._open_corpus(config)
        for override in sorted(plain, key=lambda o: o.key_or_group != "corpus"):  # it, and then its fields
            key, value = override.key_or_group, override.value()
            whole = key in WHOLE
            value = weighed(value) if key == "data.components" else value
            if key.startswith("corpus."):
                self._open_corpus(config, opened=True)
            try:
                OmegaConf.update(config, key, value, merge=not whole, force_add=True)
            except (OmegaConfBaseException, ValueError, TypeError, AttributeError):
                raise ConfigError(f"{override.input_line}: no value of {key}; see it with --config") from None
            if key == "corpus":
                self._open_corpus(config)
        teacher = OmegaConf.select(config, "objective.teacher")
        given = OmegaConf.is_dict(teacher) and any(teacher.get(name) is not None for name in TEACHERS)
        if given and OmegaConf.is_missing(teacher, "path"):  # the folder that a preset asks for is not needed
            teacher["path"] = None
        for group in ("objective", "data", "model"):
            check_name(config, group, self.file(group, choices[group]), partial(self.options, group))
        return config

    def _composed(self, overrides: Sequence[str]) -> tuple[DictConfig, dict[str, str], list[Override]]:
        """(what Hydra makes of the groups, to be copied before it is changed; each group's option; the plain
        values to set)."""
        parsed = parse(overrides)
        plain = [o for o in parsed if o.key_or_group not in GROUPS and is_plain(o)]
        none = [
            o for o in parsed if o.key_or_group in OPTIONAL and self.values(o) == ["null"]
        ]  # as without it
        groups = tuple(line for o, line in zip(parsed, overrides, strict=True) if o not in [*plain, *none])
        chosen = {
            o.key_or_group: str(o.value()) for o in parsed if o.key_or_group in OPTIONAL and o not in none
        }
        if groups not in self.cache:
            config = self._hydra(groups)
            choices = take_choices(config)
            self._check_package(config, chosen)
            check_sections(config, choices, [group for group in GROUPS if group not in OPTIONAL])
            option = choices["objective"]
            check_only_name(config, self.file("objective", option), self.options("objective"))
            self.cache[groups], self.choices[groups] = config, choices
        return self.cache[groups], self.choices[groups], plain

    def _open_corpus(self, config: DictConfig, *, opened: bool = False) -> None:
        """Put a corpus preset's settings in the place of its name. Raises ConfigError for an unknown one."""
        folders = [root / CORPORA.name for root in (CONF, self.extra) if root]
        try:
            found = corpus_settings(config.get("corpus"), folders, opened=opened)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        OmegaConf.update(config, "corpus", found, merge=False, force_add=True)

    def _check_package(self, config: DictConfig, chosen: dict[str, str]) -> None:
        """Raises ConfigError for an overlay whose content stands under its group's name."""
        for group, option in chosen.items():
            node = config.get(group)
            own = group in ("pipeline", "ablation")  # such an overlay also has a node of its group's name
            if node is not None and (not own or (OmegaConf.is_dict(node) and group in node)):
                raise ConfigError(
                    f"{self.file(group, option)}: its first line must be `# @package _global_`, so that it "
                    "sets other groups too"
                )

    def _hydra(self, overrides: Sequence[str]) -> DictConfig:
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(CONF), version_base="1.3"):
                return compose("config", overrides=[*self.search, *overrides], return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(" ".join(str(error).split("\n")[:2])) from None
        except yaml.YAMLError as error:
            raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}") from None
        except RecursionError:
            raise ConfigError(f"{' '.join(overrides)}: nested too deeply; write it flatter") from None

    def config(self, overrides: Sequence[str]) -> RunConfig:
        """Compose and validate one run; of a pipeline the last stage that `stage` lets run."""
        return self.configs(overrides)[-1]

    def configs(self, overrides: Sequence[str]) -> list[RunConfig]:
        """Compose and validate a run, or the stages of a pipeline, in order."""
        lines, spec, names = self._pipeline(overrides)
        whole = self.raw(lines.every)
        if spec is None:
            return [validate(self._resolved(whole))]
        found: dict[str, RunConfig] = {}
        data = self._resolved(whole, only="data")
        for name in names:
            made = self._resolved(self.raw(pipeline.stage_lines(spec, name, lines)), stage=name)
            made = pipeline.placed(spec, name, made, found)
            made["stage"] |= {} if made["data"] == data["data"] else data
            found[name] = validate(made, where=f"stage {name}: ")
            pipeline.check_start(spec, name, found)
        return list(found.values())

    def stages(self, overrides: Sequence[str]) -> tuple[list[str], list[str]]:
        """(overrides with `pipeline.last.` resolved, names of the stages that run); none without."""
        lines, _, names = self._pipeline(overrides)
        return pipeline.joined(lines), names

    def stage_overrides(self, overrides: Sequence[str]) -> dict[str, list[str]]:
        """What each stage that runs sets, in its pipeline's file or on the command line."""
        lines, spec, names = self._pipeline(overrides)
        typed = {name: [line for stage, line in lines.stages if stage == name] for name in names}
        return {name: [*(spec.overrides(name) if spec else ()), *typed[name]] for name in names}

    def _pipeline(
        self, overrides: Sequence[str]
    ) -> tuple[pipeline.Lines, pipeline.PipelineSpec | None, list[str]]:
        """The overrides by whom they concern, the pipeline that they choose, and its stages that run."""
        lines = pipeline.split_lines(overrides)
        whole, _, plain = self._composed(lines.every)
        given = [o.value() for o in plain if o.key_or_group == "stage" or o.key_or_group.startswith("stage.")]
        data, stage = whole.get("pipeline"), given[-1] if given else whole.get("stage")
        if data is not None:
            data = OmegaConf.to_container(data)
        spec = pipeline.read_pipeline(data)
        names = pipeline.chosen(spec, stage, lines)
        lines = pipeline.with_last(lines, names)
        pipeline.check_stages(spec, lines)
        self.parse([] if spec is None else [line for name in spec.stages for line in spec.overrides(name)])
        return lines, spec, names

    def _resolved(
        self, config: DictConfig, *, only: str | None = None, stage: str | None = None
    ) -> dict[str, Any]:
        """What Hydra composed as plain values, mixtures filled in; `only` one section of it."""
        try:
            part = config if only is None else config[only]
            data: Any = OmegaConf.to_container(part, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            first = str(error).splitlines()[0]
            key = f"{error.full_key or ''}" if stage is None else f"{STAGE_SETTING}{stage}.{error.full_key}"
            raise ConfigError(f"{key}: {first}; give it on the command line") from None
        assert isinstance(data, dict)
        values = {str(key): value for key, value in data.items()} if only is None else {only: data}
        folders = [root / "data" for root in (CONF, self.extra) if root]
        try:
            values["data"] = with_components(values["data"], folders)
            if only is None:
                check_model_name(values["model"], [f.with_name("model") for f in folders])
                values["objective"] = with_teacher(
                    values["objective"], [f.with_name("model") for f in folders]
                )
                values["eval"] = with_own_presets(values["eval"], folders)
                freeze(values)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return {key: value for key, value in values.items() if key not in NO_SETTINGS}


def own_key(override: Override) -> str:
    """The group or setting that an override names, also where it is one stage's."""
    key = override.key_or_group
    return key.removeprefix(STAGE_SETTING).partition(".")[2] if key.startswith(STAGE_SETTING) else key


def may_choose(override: Override) -> bool:
    """Whether it names neither a group nor a setting, and so perhaps a factor of the ablation."""
    key = override.key_or_group
    known = key in GROUPS or is_setting(key) or key.split("/")[0].split(".")[0] == "hydra"
    return not known and is_plain(override)


def is_plain(override: Override) -> bool:
    """Whether it only sets a value: it adds and deletes nothing, and is not Hydra's own."""
    return not (override.is_add() or override.is_delete() or override.key_or_group.startswith("hydra"))
