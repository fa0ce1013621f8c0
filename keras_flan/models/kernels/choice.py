"""Which form of attention runs: by the setting, the devices, the model."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

from keras_flan.errors import InputError, did_you_mean

Attention = Literal["auto", "einsum", "splash", "pallas", "cudnn"]
_NAMES: tuple[str, ...] = get_args(Attention)
# What each kernel runs on.
_PLATFORMS = {"splash": "tpu", "pallas": "tpu", "cudnn": "gpu"}
_interpreting = contextvars.ContextVar("interpreting", default=False)


class Chosen(NamedTuple):
    """What was chosen.

    Attributes:
        form: `einsum`, `splash`, `pallas` or `cudnn`.
        why: In a few words, for people.
    """

    form: str
    why: str

    def __str__(self) -> str:
        return f"{self.form} ({self.why})"


def check_attention(setting: str, kernels: Sequence[str], owner: str) -> str:
    """Returns `setting`, or raises if a family can't run it anywhere.

    Args:
        setting: The name.
        kernels: Those that the family has.
        owner: What to call the family.

    Raises:
        InputError: If the name is unknown or is that of another family's
            kernel.
    """
    if setting not in _NAMES:
        raise InputError(
            f"attention: unknown form {setting!r}."
            + did_you_mean(setting, _NAMES)
        )
    allowed = ("auto", "einsum", *kernels)
    if setting not in allowed:
        raise InputError(
            f"attention: found {setting!r}, which {owner} has no kernel for; "
            f"expected one of {', '.join(allowed)}"
        )
    return setting


def choose(
    setting: str, kernels: Sequence[str], obstacle: Callable[[str], str | None]
) -> Chosen:
    """Returns the form that runs.

    Args:
        setting: Of `check_attention`.
        kernels: Those that the family has.
        obstacle: Why a kernel can't serve this model, if that is so.

    Raises:
        InputError: If a kernel was asked for by name and can't serve.

    Example:
        >>> str(choose("auto", ("splash", "cudnn"), lambda form: None))
        'einsum (no TPU)'
    """
    if setting == "einsum":
        return Chosen("einsum", "as set")
    here = target_platform()
    form = kernel_on(here, setting, kernels)
    if form is not None:
        problem = obstacle(form)
    elif here in ("cpu", "gpu", "tpu"):
        wanted = _PLATFORMS[setting] if setting != "auto" else "tpu"
        problem = f"no {wanted.upper()}"
    else:
        problem = f"kernels need JAX, found {here}"
    if form is not None and problem is None:
        why = "as set" if setting != "auto" else f"on a {here.upper()}"
        return Chosen(form, why)
    if setting == "auto":
        return Chosen("einsum", str(problem))
    raise InputError(
        f"attention: {setting!r} can't be used: {problem}; set "
        "model.attention to auto or einsum"
    )


def kernel_on(
    platform: str, setting: str, kernels: Sequence[str]
) -> str | None:
    """Returns the kernel that a setting means on a platform, if any.

    Args:
        platform: `cpu`, `gpu` or `tpu`.
        setting: As for `choose`.
        kernels: As for `choose`.
    """
    # cuDNN's refuses some GPUs and was never measured here: by name only.
    named = [setting] if setting != "auto" else ["splash", "pallas"]
    fitting = (k for k in kernels if k in named and _PLATFORMS[k] == platform)
    return next(fitting, None)


def target_platform() -> str:
    """Returns what is traced for: `cpu`, `gpu`, `tpu`, or another backend.

    That is the platform of the devices of the distribution in use, which may
    be described only (a TPU topology), or else JAX's own.
    """
    import keras

    backend = keras.backend.backend()
    if backend != "jax":
        return backend
    if _interpreting.get():
        return "tpu"
    import jax

    distribution = keras.distribution.distribution()
    if distribution is not None:
        device = distribution.device_mesh.devices.flat[0]
        # Keras writes them as "cpu:0"; a device of JAX knows itself.
        name = getattr(device, "platform", None) or str(device).split(":")[0]
    else:
        name = jax.default_backend()
    return {"cuda": "gpu", "rocm": "gpu"}.get(name, name)


def interprets() -> bool:
    """Whether kernels are interpreted, see `interpreted`."""
    return _interpreting.get()


@contextlib.contextmanager
def interpreted() -> Iterator[None]:
    """Runs the TPU's kernels on any device, slowly: for tests of numbers."""
    token = _interpreting.set(True)
    try:
        yield
    finally:
        _interpreting.reset(token)
