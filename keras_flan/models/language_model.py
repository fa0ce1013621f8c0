"""What all models here share: hidden states, logits, and how to go on."""

import contextlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import keras

from keras_flan.data.vocabularies.assets import read_vocabulary, save_vocabulary
from keras_flan.errors import InputError, did_you_mean
from keras_flan.lazy import borrowed
from keras_flan.models.accumulation import Parts, weigh_parts
from keras_flan.models.decoding import Decoding
from keras_flan.models.fitting import (
    by_parts,
    check_devices,
    check_trained,
    on_the_mesh,
)
from keras_flan.models.kernels.choice import Chosen, choose
from keras_flan.tensors import Tensor, Tensors

M = TypeVar("M", bound="LanguageModel")
# Each adapter joins models, and so needs this module.
_ADAPTERS = "keras_flan.models.adapters.saving"
_NOTES = "keras_flan.models.compression.notes"
_PRUNING = "keras_flan.models.compression.pruning"
_QUANTISING = "keras_flan.models.compression.quantising"


class LanguageModel(keras.Model):
    """A model of two halves, so that a loss can project in chunks.

    A subclass has `hidden(inputs, training)`, which returns the last hidden
    states `(batch, length, hidden_dim)`, and `logits(x)`, which projects
    them to float32 logits `(batch, length, vocabulary_size)`. Calling the
    model gives logits.

    Compiled with a loss that has a `chunk` or `gather` (see
    `keras_flan.training.TokenCrossentropy`), `fit` and `evaluate` leave the
    projection to the loss, which keeps the logits of a few positions at a
    time only, forward and backward. The loss is the same.

    An optimizer with `gradient_accumulation_steps` takes the update of the
    whole batch: each part weighs as much as its target tokens do.

    A family is called with its backbone, a vocabulary and its own settings,
    and keeps them as attributes.

    Attributes:
        decoder_only: Whether inputs and targets share a row. Else an encoder
            reads the inputs and a decoder the targets.
        own_settings: Names of the settings of this family.
        kernels: The forms of attention that it has beside `einsum`, see
            `keras_flan.models.kernels`.
        attention: The one that was asked for, or `auto`.
    """

    decoder_only: ClassVar[bool]
    own_settings: ClassVar[tuple[str, ...]] = ()
    kernels: ClassVar[tuple[str, ...]] = ()
    attention: str = "auto"
    backbone: Any
    _projects = True
    _parts: Parts | None = None

    def __new__(cls: type[M], *args: Any, **kwargs: Any) -> M:
        model = super().__new__(cls, *args, **kwargs)
        # Keras covers it by a check of settings of its own.
        model.__dict__.pop("quantize", None)
        return model

    @property
    def vocabulary(self) -> Any:
        """The vocabulary, or `None`.

        Raises:
            InputError: When it is set, if it has more tokens than the
                embedding has rows.
        """
        return getattr(self, "_vocabulary", None)

    @vocabulary.setter
    def vocabulary(self, vocabulary: Any) -> None:
        rows = getattr(self.backbone, "vocabulary_size", math.inf)
        if (size := getattr(vocabulary, "size", 0)) > rows:
            raise InputError(
                f"{type(self).__name__}: the vocabulary has {size:,} tokens, "
                f"but the embedding {rows:,} rows; give the model's own "
                "vocabulary, or a model with as many rows"
            )
        self._vocabulary = vocabulary

    @property
    def decoding(self) -> Decoding:
        """How the family reads, continues and scores texts."""
        raise NotImplementedError

    @classmethod
    def from_preset(
        cls: type[M], preset: str | os.PathLike, **settings: Any
    ) -> M:
        """Loads a model of this class; see `keras_flan.models.load`.

        Args:
            preset: A folder or a name.
            **settings: As for `load`.

        Raises:
            InputError: Also if the model is of another class.

        Example:
            >>> model = keras_flan.models.T5.from_preset("flan_nano")
            >>> model.generate("The opposite of hot is", max_new_tokens=8)
            'cold.'
        """
        load_as = borrowed("keras_flan.models.loading", "load_as")
        return load_as(cls, preset, settings)

    def generate(
        self, inputs: str | Sequence[str], **settings: Any
    ) -> str | list[str] | list[list[str]]:
        """Generates text; see `keras_flan.generation.generate_texts`.

        Args:
            inputs: A prompt, or several.
            **settings: As for `keras_flan.generation.generate`, such as
                `max_new_tokens`, `temperature` and `samples`.

        Returns:
            A text for a prompt, a list for several; with `samples` a list of
            texts in the place of each.
        """
        generate = borrowed("keras_flan.generation.engine", "generate_texts")
        return generate(self, inputs, **settings)

    @classmethod
    def around(cls: type[M], backbone: Any, **settings: Any) -> M:
        """Returns a model of a backbone, with any setting that `load` takes."""
        rate = settings.pop("dropout", None)
        model = cls(backbone, **settings)
        return model if rate is None else model.with_settings(dropout=rate)

    @classmethod
    def check_settings(cls, names: Iterable[str]) -> None:
        """Raises an `InputError` that names the first unknown setting."""
        known = [*cls.own_settings, "dropout", "dtype", "name", "vocabulary"]
        for name in names:
            if name not in known:
                raise InputError(
                    f"{cls.__name__}: unknown setting {name!r}."
                    + did_you_mean(name, known)
                )

    def with_settings(self: M, **settings: Any) -> M:
        """Returns a copy with other settings and the same weights.

        A checkpoint comes with the dropout of its pretraining, often none;
        the paper finetunes with its own.

        Args:
            **settings: `dropout`, `dtype`, `name`, `vocabulary`, and what the
                class is called with, such as `remat`. The others stay.

        Returns:
            A model with weights of its own; `self` if nothing changes.

        Raises:
            InputError: If a setting is unknown, or the model has an adapter.

        Example:
            >>> model = model.with_settings(dropout=0.05, remat=True)
        """
        self.check_settings(settings)
        if "dtype" in settings:
            settings["dtype"] = keras.dtype_policies.get(settings["dtype"])
        backbone = self.backbone
        kept = {name: getattr(self, name) for name in self.own_settings}
        kept |= {"vocabulary": self.vocabulary, "dtype": backbone.dtype_policy}
        now = {**kept, "dropout": backbone.dropout, "name": self.name}
        if all(now[name] == value for name, value in settings.items()):
            return self
        if getattr(self, "adapters", ()):
            raise InputError(
                f"{type(self).__name__}: it has an adapter, which a copy would "
                "lose; call merge_adapter or remove_adapter first"
            )
        if settings.get("scan") is False:
            backbone = self.hub_backbone()
        kept |= settings
        kept.pop("dropout", None)
        of_backbone = {
            name: settings[name]
            for name in ("dropout", "dtype")
            if name in settings
        }
        copy = borrowed(_NOTES, "copied")(backbone, **of_backbone)
        model = type(self)(copy, **kept)
        if borrowed(_PRUNING, "is_pruned")(self.backbone):
            borrowed(_PRUNING, "keep_zeros")(model)
        return model

    def quantize(
        self,
        mode: str,
        *,
        group: int = 64,
        calibration: Iterable[Any] | None = None,
    ) -> None:
        """Holds the weights in 8 or 4 bits from now on.

        Projections and embeddings become small whole numbers and a scale for
        each group of them; norms and biases stay. Activations keep their
        dtype, and all else works as before, generation, saving and adapters,
        which train on top (QLoRA); the weights themselves no longer train.

        Args:
            mode: `"int8"`, a scale per output; `"int4"`, groups along the
                inputs; or `"gptq"`, the same where each weight's error is
                made up for by the next. Embeddings take 8 bits in all modes,
                and so does an axis of odd size.
            group: How many weights share a scale in 4 bits, or the next
                smaller number that divides an axis.
            calibration: Batches as `fit` takes them, packed, for `"gptq"`:
                some hundred rows of what the model is for.

        Raises:
            InputError: If a setting is wrong, the model has an adapter, or
                its weights are in few bits already.

        Example:

        ```python
        model.quantize("gptq", calibration=dataset.take(8))
        keras_flan.models.save(model, "small")
        ```

        Source: [Frantar et al., 2022](https://arxiv.org/abs/2210.17323);
        [Dettmers et al., 2023](https://arxiv.org/abs/2305.14314) (QLoRA).
        """
        quantise = borrowed(_QUANTISING, "quantise")
        quantise(self, mode, group, calibration)

    def hub_backbone(self) -> Any:
        """Returns the weights as a backbone of keras-hub's own class."""
        return self.backbone

    def call(self, inputs: Tensors, training: bool = False) -> Tensor:
        x = self.hidden(inputs, training=training)
        return self.logits(x) if self._projects else x

    def hidden(self, inputs: Tensors, training: bool = False) -> Tensor:
        """Returns what `logits` takes, `(batch, length, hidden_dim)`."""
        raise NotImplementedError

    def logits(self, x: Tensor) -> Tensor:
        """Projects `hidden`'s output to float32 logits."""
        raise NotImplementedError

    def chosen_attention(
        self, length: int | None = None, training: bool = True
    ) -> Chosen:
        """Returns the form of attention that runs on the devices in use.

        Args:
            length: Of the longest row; `None` if it is not known yet.
            training: Whether dropout is on.

        Raises:
            InputError: If a kernel was asked for by name and can't serve.
        """
        return choose(
            self.attention,
            self.kernels,
            lambda form: self.kernel_obstacle(form, length, training),
        )

    def kernel_obstacle(
        self, form: str, length: int | None, training: bool
    ) -> str | None:
        """Returns why a kernel can't serve this model, if that is so."""
        return None

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Prepares the model for `fit`, as `keras.Model.compile` does.

        Raises:
            InputError: If metrics are to read logits that the loss won't
                keep, or the model was made before
                `keras_flan.distribution.setup`.
        """
        check_devices(self, compiled=False)
        if by_parts(loss) and (metrics or weighted_metrics):
            name = "chunk" if loss.chunk else "gather"
            raise InputError(
                f"compile: found metrics={metrics or weighted_metrics} beside "
                f"a loss with {name}={getattr(loss, name)}, which keeps no "
                f"logits for them; leave out the metrics or the {name}"
            )
        super().compile(
            optimizer=optimizer,
            loss=loss,
            loss_weights=loss_weights,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            **kwargs,
        )
        self._parts = weigh_parts(self.optimizer)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        check_trained(self)
        with on_the_mesh(self):
            return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        with on_the_mesh(self):
            return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        with on_the_mesh(self):
            return super().predict(*args, **kwargs)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        check_trained(self)
        with on_the_mesh(self):
            return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        with on_the_mesh(self):
            return super().test_on_batch(*args, **kwargs)

    def predict_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        with on_the_mesh(self):
            return super().predict_on_batch(*args, **kwargs)

    def make_train_function(self, force: bool = False) -> Any:
        borrowed(_PRUNING, "keep_waiting_zeros")(self)
        return super().make_train_function(force=force)

    # Each backend's `fit` and `evaluate` go through these two, tracing or
    # not, and take the model's output to `compute_loss`.

    def train_step(self, *args: Any) -> Any:
        parts: contextlib.AbstractContextManager = contextlib.nullcontext()
        if self._parts is not None:
            parts = self._parts.part(self.loss, args[-1])
        with self._leaving_the_projection(), parts:
            return super().train_step(*args)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of the step before, where torch keeps them.

        Keras shows torch its weights by name, and keras-hub's T5 has two of
        one name: torch's own method would leave one of them to add up.
        """
        for variable in self.trainable_variables:
            variable.value.grad = None

    def test_step(self, *args: Any) -> Any:
        with self._leaving_the_projection():
            return super().test_step(*args)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        if not self._projects:
            y_pred = self.loss.by_chunks(y, y_pred, self.logits, sample_weight)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    # === Saving ===

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as it was, when Keras loads a `.keras` file."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def save_assets(self, folder: str) -> None:
        """Writes the vocabulary into a `.keras` file."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_vocabulary(self.vocabulary, Path(folder))

    def load_assets(self, folder: str) -> None:
        """Takes the vocabulary out of a `.keras` file."""
        self.vocabulary = read_vocabulary(Path(folder))

    def get_config(self) -> dict[str, Any]:
        # A backbone with stacked layers says so itself.
        names = [name for name in self.own_settings if name != "scan"]
        adapter = next(iter(getattr(self, "adapters", ())), None)
        forms = borrowed(_NOTES, "forms_of")(self.backbone)
        pruned = borrowed(_PRUNING, "is_pruned")(self.backbone)
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            **{name: getattr(self, name) for name in names},
            **({"adapter": adapter.get_config()} if adapter else {}),
            **forms,
            **({"pruned": True} if pruned else {}),
        }

    @classmethod
    def from_config(cls: type[M], config: dict[str, Any]) -> M:
        config = dict(config)
        adapter = config.pop("adapter", None)
        forms = borrowed(_NOTES, "taken_forms")(config)
        pruned = config.pop("pruned", False)
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        model = cls(**{**config, "backbone": backbone})
        borrowed(_NOTES, "prepare")(model.backbone, forms)
        if pruned:
            borrowed(_PRUNING, "keep_zeros_of_file")(model)
        if adapter is not None:
            borrowed(_ADAPTERS, "KINDS")[adapter["kind"]].add(
                model, **adapter["settings"]
            )
        return model

    @contextlib.contextmanager
    def _leaving_the_projection(self) -> Iterator[None]:
        self._projects = not by_parts(self.loss)
        try:
            yield
        finally:
            self._projects = True
