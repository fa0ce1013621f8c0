"""The loop: sample, judge, weigh, train; then again with what was learnt."""

import csv
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import keras

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.pipeline.token_rows import Batches
from keras_flan.errors import InputError
from keras_flan.evaluation.responsible.toxicity import lexicon_scores
from keras_flan.files import atomic_write, write_json
from keras_flan.generation.rounds import compilations
from keras_flan.improvement.config import ImproveConfig
from keras_flan.improvement.journal import PATHS_FILE, Group, Journal
from keras_flan.improvement.page import PAGE_FILE, write_page
from keras_flan.improvement.rollouts import Rollouts
from keras_flan.improvement.units import Units
from keras_flan.models.kept_values import KeptValues
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.loading import load_as
from keras_flan.outputs import Kind, output_folder, replace_files
from keras_flan.progress import Progress
from keras_flan.runtime.start import prepare_process
from keras_flan.storage import remove_folder
from keras_flan.training.callbacks import Logs, check_finite
from keras_flan.training.cards import write_own_card
from keras_flan.training.checkpoints import TrainingCheckpoint
from keras_flan.training.finished import RUN_FILE
from keras_flan.training.path_losses import PathLoss, PreferenceLoss, SoftLoss
from keras_flan.training.run_folder import (
    CHECKPOINTS,
    begin_run,
    records_checksum,
    run_facts,
    save_trained,
)
from keras_flan.training.signals import StopOnSignal
from keras_flan.training.start import (
    make_optimizer,
    start_chat,
    start_devices,
    start_model,
)

# A round, as `rounds.csv` has it.
Row = dict[str, float]
# What may change between the parts of a run that was stopped.
_FREE = ("output", "rounds", "checkpoint_every", "distribution")
IMPROVEMENT = Kind("improvement")


def improve(
    config: ImproveConfig,
    *,
    model: LanguageModel | None = None,
    quiet: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Lets a model learn from its own answers, and writes it.

    Each round samples paths with the weights as they are, has them judged,
    weighs them, and trains on them by `model.fit`. A run that was stopped or
    killed goes on from its latest checkpoint, with the paths that it had.
    The output folder gets

    - `config.yaml`, `run.json`, `rounds.csv`, `metrics.json`;
    - `paths.jsonl`, every path with its reward and weight; a page of them;
    - `model/`, and `best/` by what the guard asks, as `train` writes them.

    Args:
        config: The settings.
        model: The model to train, if it is in memory already.
        quiet: Whether to show no progress.
        overwrite: Whether to write over an output of another kind.

    Returns:
        What `metrics.json` holds: `rounds`, of each what `summary` says;
        `steps`; `guard`: `rounds` and `reward` of what is held out;
        `seconds` by their use; `compilations` of decoding; and `model`.

    Raises:
        InputError: If a file or setting is wrong, or the output holds
            something else.
        Diverged: If a loss is not finite.
        Interrupted: If a signal stopped it while it trained.

    Example:
        >>> improve(ImproveConfig.from_yaml("improve.yaml"))["steps"]
        60
    """
    prepare_process()
    if (number := start_devices(config).processes) > 1:
        raise InputError(
            f"distribution: found {number} processes, expected one; it may "
            "have many devices"
        )
    with output_folder(config.output, IMPROVEMENT, overwrite):
        run = _Run(config, model or start_model(config), quiet, overwrite)
        try:
            run.rounds()
        finally:
            run.checkpoint.close()
        return run.write()


class _Checkpoint(TrainingCheckpoint):
    """A checkpoint that outlives a `fit`: there are many."""

    def on_train_end(self, logs: Logs = None) -> None:
        pass

    def begin_loss(self) -> None:
        """Has the next `fit` begin its mean loss anew, as it is no rest."""
        self._metrics = None

    def mean_loss(self) -> float:
        """Returns that of a `fit` that was stopped after its last step."""
        self.on_epoch_begin(0)
        return float(self.model.get_metrics_result()["loss"])

    def close(self) -> None:
        super().on_train_end()


class _Run:
    """A run; see `improve`. It is also what its checkpoint keeps."""

    def __init__(
        self,
        config: ImproveConfig,
        model: LanguageModel,
        quiet: bool,
        overwrite: bool,
    ):
        self.config, self.model = config, model
        self.quiet, self.overwrite = quiet, overwrite
        self.begin, self.before = time.monotonic(), 0.0
        self.seconds = {"training": 0.0}
        # Rounds that are done; calls before this one; rounds that are timed.
        self.done, self.began, self.timed = 0, 0, 0
        self.rows: list[Row] = []
        self.guarded: list[tuple[int, float]] = []
        places = config.mixture, config.records, config.missing
        mixture = None if config.on_pairs else Mixture.from_yaml(*places)
        self.facts = run_facts(config.seed, mixture)
        if mixture is None:
            self.facts["data"] = {"pairs": records_checksum(config.mixture)}
        # One that has sampled nothing yet is begun anew, with any settings.
        sampled = (config.output / PATHS_FILE).is_file()
        stopped = begin_run(config, self.facts, sampled, _FREE, [PATHS_FILE])
        start_chat(model, config)
        trained = model.trainable_variables
        start = KeptValues(trained) if config.needs_start else None
        teacher = None
        if config.distil is not None:
            teacher = load_as(LanguageModel, config.distil.teacher, {})
        self.rollouts = Rollouts(config, model, mixture, start, teacher)
        self.units = Units(config, model, self.rollouts)
        model.compile(
            optimizer=make_optimizer(config.optimizer, config.steps),
            loss=_loss(config),
        )
        self.checkpoint = _Checkpoint(
            config.output / CHECKPOINTS,
            every=sys.maxsize,
            keep=1,
            states={"improvement": self},
            accumulate=config.optimizer.accumulate,
        )
        self.checkpoint.set_model(model)
        if stopped:
            self.checkpoint.restore(model)
        self.journal = Journal(config.output / PATHS_FILE, stopped)

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps."""
        names = ("done", "began", "timed", "rows", "guarded")
        kept = {name: getattr(self, name) for name in names}
        return {**kept, "seconds": self._spent()}

    def _spent(self) -> dict[str, float]:
        """Returns the seconds so far, of earlier parts of the run too."""
        total = self.before + time.monotonic() - self.begin
        return {**self.rollouts.seconds, **self.seconds, "total": total}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `state()`."""
        for name in ("done", "began", "timed", "rows"):
            setattr(self, name, state[name])
        self.guarded = [(r, value) for r, value in state["guarded"]]
        seconds = dict(state["seconds"])
        self.before += seconds.pop("total")
        self.seconds["training"] += seconds.pop("training")
        self.rollouts.seconds.update(seconds)

    def rounds(self) -> None:
        """Goes through the rounds that are left."""
        config, total = self.config, self.config.rounds
        with Progress(
            "improving", total=total, unit="rounds", enabled=not self.quiet
        ) as bar:
            bar.advance(self.done)
            if not self.guarded:
                self._guard()
            while self.done < config.rounds and not self._is_over():
                self._round()
                bar.advance(1, _note(self.rows[-1], self.guarded))

    def _round(self) -> None:
        config, number = self.config, self.done
        groups, spent = self.journal.groups(number), self.rollouts.seconds
        if groups is None:
            before = dict(spent)
            groups = self.rollouts.round(number)
            took = {k: v - before.get(k, 0.0) for k, v in spent.items()}
            self.journal.add(number, groups, took)
        elif number >= self.timed:
            # Sampled by a part of the run that no checkpoint tells of.
            for name, seconds in self.journal.seconds[number].items():
                spent[name] += seconds
                self.before += seconds
        self.timed = number + 1
        batches = Batches(
            self.units.of(groups),
            self.units.shape,
            batch_size=config.data.batch_size,
            parts=config.optimizer.accumulate,
            columns=self.units.columns,
            seed=config.seed + number,
            passes=config.passes,
            paired=config.method == "preference",
        )
        batches.skipped = self.checkpoint.calls - self.began
        if not batches.skipped:
            self.checkpoint.begin_loss()
        row = {"round": number + 1, **summary(groups, config.right.least)}
        if len(batches):
            row["loss"] = self._fit(batches)
        elif batches.skipped:
            row["loss"] = self.checkpoint.mean_loss()
        self.done, self.began = number + 1, self.checkpoint.calls
        self.rows.append({**row, "step": self.checkpoint.step})
        if config.guard and self.done % config.guard.every == 0:
            self._guard()
        every = config.checkpoint_every
        if every and self.done % every == 0:
            self.checkpoint.save()

    def _fit(self, batches: Batches) -> float:
        begin = time.monotonic()
        with StopOnSignal(self.checkpoint) as stop:
            history = self.model.fit(
                batches,
                shuffle=False,
                callbacks=[self.checkpoint, stop],
                verbose=0,
            )
        self.seconds["training"] += time.monotonic() - begin
        loss = float(history.history["loss"][-1])
        check_finite(loss, self.checkpoint.step)
        return loss

    def _guard(self) -> None:
        if self.config.guard is None:
            return
        value = self.rollouts.guard()
        if value is None:
            return  # The judge abstained of all.
        better = all(value > before for _, before in self.guarded)
        self.guarded.append((self.done, value))
        if better and self.done:
            folder = self.config.output / "best"
            save_trained(self.config, self.model, folder, self.overwrite)

    def _is_over(self) -> bool:
        """Whether the steps or the guard's patience are at their end."""
        its, values = self.config.guard, [value for _, value in self.guarded]
        if self.checkpoint.step >= self.config.steps:
            return True
        if its is None or its.patience is None or not values:
            return False
        return len(values) - 1 - values.index(max(values)) >= its.patience

    def write(self) -> dict[str, Any]:
        """Writes what was trained; returns the metrics."""
        config, folder = self.config, self.config.output
        saved = save_trained(
            config, self.model, folder / "model", self.overwrite
        )
        guarded = dict(self.guarded)
        # Of two that are alike the first: the start, unless one was better.
        if not max(guarded, key=lambda r: guarded[r], default=0):
            remove_folder(folder / "best")  # It is that of an earlier run.
        metrics: dict[str, Any] = {
            "rounds": self.rows,
            "steps": self.checkpoint.step,
            "guard": {"rounds": [*guarded], "reward": [*guarded.values()]},
            "left_out": self.units.left_out + self.rollouts.left_out,
            "seconds": self._spent(),
            "compilations": [*compilations(self.model).values()],
            "model": str(saved),
        }
        with replace_files(folder, RUN_FILE) as made:
            write_json(made / "metrics.json", metrics)
            write_page(made / PAGE_FILE, config, metrics, self.journal)
            names = list(dict.fromkeys(key for row in self.rows for key in row))
            with atomic_write(made / "rounds.csv") as f:
                table = csv.DictWriter(f, names, lineterminator="\n")
                table.writeheader()
                table.writerows(self.rows)
            write_json(made / RUN_FILE, {**self.facts, "finished": True})
        write_own_card(config, saved, metrics, self.facts)
        remove_folder(folder / CHECKPOINTS)
        return metrics


def summary(groups: Sequence[Group], least: float) -> Row:
    """Returns the numbers of a round's paths; means of what there is."""
    paths = [path for group in groups for path in group.paths]
    rewards = [r for group in groups for r in group.rewards if r is not None]
    means: dict[str, list[float]] = {
        "ended": [path.finished for path in paths],
        "length": [len(path.token_ids) for path in paths],
        "toxicity": lexicon_scores([path.text for path in paths]),
        "reward": rewards,
        "right": [r >= least for r in rewards],
        "entropy": [-gain for p in paths for gain in p.log_probabilities],
        "kl": [
            now - before
            for path in paths
            # One is empty where a text is another's, the other without KL.
            for now, before in zip(
                path.log_probabilities, path.reference, strict=False
            )
        ],
    }
    return {
        "paths": len(paths),
        "kept": sum(path.weight != 0 for path in paths),
        **{name: statistics.fmean(v) for name, v in means.items() if v},
    }


def _note(row: Row, guarded: Sequence[tuple[int, float]]) -> str:
    names = ("reward", "right", "kept", "length", "entropy", "kl")
    values = [f"{name} {row[name]:.3g}" for name in names if name in row]
    values += [f"held out {value:.3g}" for _, value in guarded[-1:]]
    return ", ".join(values)


def _loss(config: ImproveConfig) -> keras.losses.Loss:
    chunk, its = config.optimizer.loss_chunk, config.advantage
    if config.method == "preference":
        pairs = config.preference
        return PreferenceLoss(pairs.loss, pairs.beta, chunk)
    if config.method == "advantage":
        high = its.clip if its.clip_high is None else its.clip_high
        return PathLoss((its.clip, high), its.kl, chunk)
    if config.distil is not None and config.distil.on_policy:
        return SoftLoss(config.distil.top, chunk)
    return PathLoss(chunk=chunk)
