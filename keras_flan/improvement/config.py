"""The settings of `keras-flan improve`, read from YAML."""

from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic

from keras_flan.data.templates.families import Format
from keras_flan.evaluation.responsible.judges import JudgeConfig
from keras_flan.generation.sampling_settings import VOTING_TEMPERATURE, Sampling
from keras_flan.improvement.weighing import Sharing
from keras_flan.schema import Strict
from keras_flan.training.config import TrainConfig
from keras_flan.training.path_losses import PairLoss
from keras_flan.training.sections import ModelConfig, Positive

Method = Literal[
    "right", "star", "majority", "advantage", "preference", "distil"
]
_Share = Annotated[float, pydantic.Field(ge=0)]
_UNUSED = (
    *("validation", "held_out", "profile", "recipe", "tensorboard"),
    "callbacks",
)


class SamplingConfig(Strict):
    """How paths are sampled.

    Attributes:
        paths: Per prompt.
        temperature: Default: 1 for `advantage`, else 0.7.
        top_k: As in `Sampling`.
        top_p: As in `Sampling`.
        max_new_tokens: Default: `data.target_length`, of pairs half.
        batch_paths: Paths that are decoded at a time.
    """

    paths: Positive = 8
    temperature: Annotated[float, pydantic.Field(gt=0)] | None = None
    top_k: Annotated[int, pydantic.Field(ge=0)] = 0
    top_p: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    max_new_tokens: Positive | None = None
    batch_paths: Positive = 64


class RightConfig(Strict):
    """Which right paths `right`, `star`, `majority` and `distil` keep.

    Attributes:
        least: From which reward on a path is right.
        most: The most paths of a prompt; default: all.
        distinct: Whether of paths with the same equations one is kept.
        hint: For `star`: what follows a prompt that no path got right, with
            a place for the `{answer}`.
    """

    least: float = 1.0
    most: Positive | None = None
    distinct: bool = True
    hint: str = "\n(The answer is {answer}.)"

    @pydantic.field_validator("hint")
    @classmethod
    def _has_a_place(cls, hint: str) -> str:
        if hint.count("{answer}") != 1:
            raise ValueError(f"found {hint!r}, expected one {{answer}} in it")
        return hint


class AdvantageConfig(Strict):
    """How `advantage` weighs.

    Attributes:
        loss: `dapo` drops groups whose rewards are all alike, and counts
            every token the same; `grpo` counts every path the same; `dr_grpo`
            divides neither by the deviation nor by the length.
        clip: How far below 1 the ratio of probabilities counts, in the
            later updates of a round.
        clip_high: The same above 1; default: `clip`.
        kl: Weight of the divergence from the model at the start.
    """

    loss: Sharing = "dapo"
    clip: _Share = 0.2
    clip_high: _Share | None = None
    kl: _Share = 0.0


class PreferenceConfig(Strict):
    """How `preference` compares pairs.

    Attributes:
        loss: `dpo` or `ipo`.
        beta: How strongly the model at the start binds.
        length_normalised: Whether a text counts by the mean over its
            tokens, not by their sum.
    """

    loss: PairLoss = "dpo"
    beta: Annotated[float, pydantic.Field(gt=0)] = 0.1
    length_normalised: bool = False


class DistilConfig(Strict):
    """Whom `distil` learns from.

    Attributes:
        teacher: A model, as `keras_flan.models.load` takes it.
        on_policy: Whether the student writes and the teacher says what it
            thinks of each token; both need the same vocabulary. Else the
            teacher writes.
        top: On policy: of how many tokens the teacher gives probabilities.
    """

    teacher: str
    on_policy: bool = False
    top: Positive = 16


class GuardConfig(Strict):
    """Questions that are never trained on, asked during a run.

    Attributes:
        every: Rounds between two times.
        examples: How many, over all tasks; at most a quarter of each.
        patience: After how many times in a row that were no better than the
            best the run ends; `None`: it never does.
    """

    every: Positive = 5
    examples: Positive = 100
    patience: Positive | None = None


class ImproveConfig(TrainConfig):
    """A run of `keras-flan improve`: a training on a model's own answers.

    Other keys are those of `TrainConfig`. `steps` is the most optimizer
    steps: a run ends with its rounds, or with them. `model.dropout` is 0
    where nothing else is said.

    Attributes:
        mixture: As in a training; for `preference` instead the folder of
            imported pairs (`keras-flan import preference`).
        method: `right`: trains on right paths. `star`: also on those that a
            hint of the answer led to. `majority`: on those that most paths
            agree with; labels are never looked at. `advantage`: on all,
            by how much better than their group they are. `preference`: on
            the best against the worst. `distil`: on a teacher's.
        rounds: How often it samples, judges and trains.
        prompts: Prompts (or pairs) per round.
        passes: How often each row of a round is seen.
        checkpoint_every: Rounds between two checkpoints; 0 for none.
        formats: How questions are asked, with weights; default: as the
            mixture says.
        train_on: Formats in which kept paths are learnt; each has the same
            share of the loss, and those without reasoning learn the answer.
            Default: as it was asked.
        sampling: See `SamplingConfig`.
        judges: See `JudgeConfig`; by default `majority` for `majority`,
            else `answer`; for `distil` none, so that all paths are kept.
        right: See `RightConfig`.
        advantage: See `AdvantageConfig`.
        preference: See `PreferenceConfig`.
        distil: See `DistilConfig`.
        guard: See `GuardConfig`; `None` holds nothing out.

    Example:

    ```yaml
    output: runs/better
    mixture: cot.yaml
    model: {init: runs/cot/model}
    method: advantage
    rounds: 50
    ```
    """

    method: Method
    rounds: Positive = 20
    prompts: Positive = 16
    passes: Positive = 1
    checkpoint_every: Annotated[int, pydantic.Field(ge=0)] = 1
    formats: dict[Format, float] | None = None
    train_on: list[Format] | None = None
    sampling: SamplingConfig = SamplingConfig()
    judges: list[JudgeConfig] | None = None
    right: RightConfig = RightConfig()
    advantage: AdvantageConfig = AdvantageConfig()
    preference: PreferenceConfig = PreferenceConfig()
    distil: DistilConfig | None = None
    guard: GuardConfig | None = None
    model: ModelConfig = ModelConfig(dropout=0.0)
    _names: ClassVar[tuple[tuple[str, str], ...]] = (
        *TrainConfig._names,
        ("distil", "teacher"),
    )

    @pydantic.field_validator("model", mode="before")
    @classmethod
    def _without_dropout(cls, model: Any) -> Any:
        return {"dropout": 0.0, **model} if isinstance(model, dict) else model

    @pydantic.model_validator(mode="after")
    def _check_method(self) -> Self:
        for key in _UNUSED:
            if getattr(self, key) != type(self).model_fields[key].get_default(
                call_default_factory=True
            ):
                raise ValueError(
                    f"{key}: an improvement has no use for it; leave it out"
                )
        if (self.method == "distil") != (self.distil is not None):
            raise ValueError("distil: the method needs {teacher: NAME}")
        its = self.sampling
        limited = its.top_k or its.top_p < 1 or its.temperature not in (None, 1)
        if self.method == "advantage" and limited:
            raise ValueError(
                "sampling: advantage is for what the model itself says: leave "
                "temperature, top_k and top_p at 1, 0 and 1"
            )
        if self.on_pairs and self.guard is not None:
            raise ValueError("guard: pairs have no answers; leave it out")
        if self.model.dropout and self.method in ("advantage", "preference"):
            raise ValueError(
                f"model.dropout: found {self.model.dropout}, expected 0: "
                f"{self.method} compares probabilities with those that were "
                "sampled or scored, without dropout"
            )
        names = [judge.name for judge in self.chosen_judges]
        if self.method == "majority" and "answer" in names:
            raise ValueError(
                "judges: majority looks at no labels, and 'answer' does; "
                "take the judge 'majority'"
            )
        if self.optimizer.z_loss or self.optimizer.loss_gather:
            raise ValueError("optimizer: leave out z_loss and loss_gather")
        return self

    @property
    def on_pairs(self) -> bool:
        """Whether it learns from pairs in files, and samples nothing."""
        folder = self.mixture
        return self.method == "preference" and folder.is_dir()

    @property
    def needs_start(self) -> bool:
        """Whether the model at the start is compared with."""
        its = self.advantage
        by_kl = self.method == "advantage" and its.kl > 0
        return by_kl or self.method == "preference"

    @property
    def chosen_judges(self) -> list[JudgeConfig]:
        """The judges, the default ones if none are named."""
        if self.judges is not None:
            return self.judges
        if self.method == "distil":
            return []
        name = "majority" if self.method == "majority" else "answer"
        return [JudgeConfig(name=name)]

    def sampled(self, seed: int, paths: int | None = None) -> Sampling:
        """Returns how to sample, with a seed."""
        its, at = self.sampling, self.sampling.temperature
        both = 2 if self.method == "preference" else 1  # share a row
        longest = max(1, self.data.target_length // both)
        if at is None:
            at = 1.0 if self.method == "advantage" else VOTING_TEMPERATURE
        return Sampling(
            samples=paths or its.paths,
            temperature=at,
            top_k=its.top_k,
            top_p=its.top_p,
            seed=seed,
            max_new_tokens=its.max_new_tokens or longest,
        )
