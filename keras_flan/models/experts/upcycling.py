"""Making experts of a dense model's feed-forward blocks."""

from collections.abc import Iterator, Mapping
from typing import Any

from keras import ops

from keras_flan.errors import InputError
from keras_flan.models.adapters.base import adapter_of
from keras_flan.models.compression.pruning import is_pruned
from keras_flan.models.compression.quantised import Quantised, within
from keras_flan.models.experts.layer import Experts, Ones, Same
from keras_flan.models.experts.routing import Routing
from keras_flan.models.language_model import LanguageModel
from keras_flan.models.programs import forget_programs

# Beside a model's config.
FILE = "experts.json"
_SIDES = ("encoder", "decoder")
# Experts that a file may name; no one has had more.
_MOST = 4096
# The variables of `Experts`, and the projections that they are copies of.
_PROJECTIONS = {
    "into": "input_projector",
    "gate": "gate_projector",
    "out": "output_projector",
}


def upcycle(
    model: LanguageModel,
    experts: int = 8,
    top_k: int = 2,
    *,
    capacity: float = 1.25,
    balance: float = 0.01,
    z_loss: float = 0.001,
    every: int = 2,
) -> None:
    """Makes many experts of every other feed-forward block.

    Each expert is a copy of the block, and a router, drawn from N(0, 0.02),
    sends each token to `top_k` of them, whose outputs are weighed by what it
    thinks of them; so the model computes what it did until it is trained. It
    then has more weights, and each token passes hardly more of them.

    In training an expert has `capacity * top_k * length / experts` places for
    the tokens of a row; who comes too late is left out, and passes the block
    by. Padding takes no place and counts in no loss. Two losses keep experts
    even and logits small; they act on the gradient alone, and the loss that
    `fit` shows stays that of the tokens. Else (`generate`, scoring,
    `evaluate`) every token has its experts, and all experts are run.

    Adapters join the other projections. `quantize`, `prune`, `scan` and the
    files of Hugging Face have no place for experts.

    Args:
        model: A `keras_flan.models.T5` whose layers are not stacked. Compile
            it afterwards.
        experts: Copies of a block.
        top_k: 1 or 2, of which a token takes.
        capacity: Places in training, of those that an even share needs.
        balance: Weight of the loss of uneven experts.
        z_loss: Weight of the loss of large logits of the router.
        every: Which blocks: the last of each so many, 2 for every other.

    Raises:
        InputError: If a setting is wrong, or the model can't have experts.

    Example:

    ```python
    model = keras_flan.models.load("flan_nano")
    keras_flan.models.upcycle(model, experts=8, top_k=2)
    model.compile(keras_flan.training.Adafactor(1e-3), TokenCrossentropy())
    model.fit(dataset, steps_per_epoch=1000)
    keras_flan.models.save(model, "experts")
    ```

    Source: [Komatsuzaki et al., 2022](https://arxiv.org/abs/2212.05055)
    (upcycling); [Shen et al., 2023](https://arxiv.org/abs/2305.14705) (Flan
    with experts).
    """
    how = Routing(experts, top_k, capacity, balance, z_loss)
    _check(model, how, every)
    backbone = model.backbone
    record = {**how._asdict(), **dict.fromkeys(_SIDES, ())}
    for side in _SIDES:
        count = len(_layers(backbone, side))
        record[side] = [n for n in range(count) if n % every == every - 1]
    kept = {
        (side, number): {
            name: getattr(_layers(backbone, side)[number], projection).kernel
            for name, projection in _PROJECTIONS.items()
            if hasattr(_layers(backbone, side)[number], projection)
        }
        for side in _SIDES
        for number in record[side]
    }
    prepare(backbone, record)
    for side, number, made in _found(backbone):
        for name, variable in made.kernels.items():
            kernel = kept[side, number][name]
            # A model that is only looked at has no values.
            if kernel._value is not None:
                copies = ops.broadcast_to(kernel.value, variable.shape)
                variable.assign(copies)
    forget_programs(model)


def _check(model: Any, how: Routing, every: int) -> None:
    """Raises `InputError` for what can't be done."""
    if how.experts < 2 or how.top_k not in (1, 2):
        raise InputError(
            f"upcycle: found experts={how.experts} and top_k={how.top_k}, "
            "expected at least 2 experts, of which a token takes 1 or 2"
        )
    if how.capacity <= 0 or how.balance < 0 or how.z_loss < 0 or every < 1:
        raise InputError(
            f"upcycle: found capacity={how.capacity}, balance={how.balance}, "
            f"z_loss={how.z_loss} and every={every}, expected numbers above "
            "0, or 0 for a loss that is not wanted"
        )
    name, backbone = type(model).__name__, model.backbone
    if getattr(model, "scan", False):
        raise InputError(f"{name}: its layers are stacked; load without scan")
    layers = _layers(backbone, "decoder")
    if not layers:
        raise InputError(
            f"{name}: upcycle knows the layers of T5 alone, found those of "
            f"{type(backbone).__name__}; load a T5"
        )
    if record_of(backbone):
        raise InputError(f"{name}: it has experts; upcycle a dense model")
    if adapter_of(model) is not None or is_pruned(backbone):
        raise InputError(
            f"{name}: it is pruned or has an adapter; call merge_adapter "
            "first, or load the model that it was made of"
        )
    if isinstance(layers[0].input_projector.kernel, Quantised):
        raise InputError(
            f"{name}: its weights are in few bits, which can't be trained; "
            "load the model that it was made of"
        )
    if len(layers) < every:
        raise InputError(
            f"{name}: has {len(layers)} layers, of which none is the last of "
            f"each {every}; give every=1"
        )


def record_of(backbone: Any) -> dict[str, Any]:
    """Returns what `prepare` takes; nothing if there are no experts."""
    record: dict[str, Any] = {}
    for side, number, made in _found(backbone):
        record = record or {
            **made.how._asdict(),
            **{name: [] for name in _SIDES},
        }
        record[side].append(number)
    return record


def parse(values: Any) -> dict[str, Any]:
    """Returns a record of what its JSON holds; `ValueError` if it is none."""
    how = Routing(*(values[name] for name in Routing._fields))
    if not (2 <= int(how.experts) <= _MOST and how.top_k in (1, 2)):
        raise ValueError(f"{how.experts} experts, of which {how.top_k}")
    if not how.capacity > 0 or how.balance < 0 or how.z_loss < 0:
        raise ValueError("numbers below 0")
    places = {side: [int(n) for n in values[side]] for side in _SIDES}
    return {**how._asdict(), **places}


def prepare(backbone: Any, record: Mapping[str, Any]) -> None:
    """Makes room for experts, whose weights are assigned or read next.

    Args:
        backbone: A dense one.
        record: Of `record_of`; layers that there are not are left out.

    Raises:
        InputError: If the record is of another model.
    """
    how = Routing(*(record[name] for name in Routing._fields))
    for side in _SIDES:
        layers = _layers(backbone, side)
        if not layers:
            raise InputError(
                f"{FILE}: names layers of a T5, which this "
                f"{type(backbone).__name__} does not have; write the model "
                "again"
            )
        for number in record[side]:
            if number < len(layers):
                _exchange(layers[number], how)


def _exchange(layer: Any, how: Routing) -> None:
    """Puts experts into the place of a layer's projections."""
    into = layer.input_projector
    *scopes, _, _ = into.kernel.path.split("/")
    width, inner = into.kernel.shape
    gated = layer.use_gated_activation
    policy = {"dtype": into.dtype_policy}
    with within(scopes):
        made = Experts(
            how, width, inner, into.activation, gated, name="experts", **policy
        )
    layer._tracker.unlock()
    new = {"into": made, "gate": Ones(**policy), "out": Same(**policy)}
    for name, projection in _PROJECTIONS.items():
        if name != "gate" or gated:
            layer._tracker.untrack(getattr(layer, projection))
            setattr(layer, projection, new[name])
    layer._tracker.lock()


def _found(backbone: Any) -> Iterator[tuple[str, int, Experts]]:
    for side in _SIDES:
        for number, layer in enumerate(_layers(backbone, side)):
            made = getattr(layer, "input_projector", None)
            if isinstance(made, Experts):
                yield side, number, made


def _list_of(side: str) -> str:
    return f"{side}_transformer_layers"


def _layers(backbone: Any, side: str) -> list[Any]:
    name = _list_of(side)
    # Those of a stack are made when they are asked for.
    stacked = hasattr(type(backbone), name)
    return [] if stacked else getattr(backbone, name, [])
