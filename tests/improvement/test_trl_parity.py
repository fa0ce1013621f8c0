"""One update on the same paths, by TRL and by `model.fit`: same weights."""

import collections
import types

import keras
import numpy as np
import pytest

from keras_flan.data.pipeline.token_rows import Batches, RowShape, Segment
from keras_flan.improvement import advantages, token_scales
from keras_flan.models import DecoderOnly, to_huggingface
from keras_flan.training import PathLoss, PreferenceLoss
from tests.conftest import LetterVocabulary
from tests.models.decoders import make_hub

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
trl = pytest.importorskip("trl")

RATE = 0.5
PROMPT = [5, 6, 7, 1]
PATHS = [[8, 9, 10, 1], [11, 12], [9, 9, 9, 9, 1], [13, 14, 15]]
LONGEST = max(map(len, PATHS))


def pair(folder):
    """The same tiny decoder twice: ours, and theirs."""
    ours = DecoderOnly(make_hub("llama", seed=1))
    to_huggingface(ours, folder / "start")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "start", attn_implementation="eager"
    )
    return ours, theirs.eval()


def inputs():
    ids = torch.zeros((len(PATHS), LONGEST), dtype=torch.int64)
    mask = torch.zeros((len(PATHS), LONGEST))
    for row, path in enumerate(PATHS):
        ids[row, : len(path)] = torch.tensor(path)
        mask[row, : len(path)] = 1
    prompts = torch.tensor([PROMPT] * len(PATHS))
    return prompts, ids, mask


def log_probabilities(theirs, prompts, ids):
    logits = theirs(torch.cat([prompts, ids], 1)).logits
    logits = logits[:, len(PROMPT) - 1 : -1]
    log_p = torch.log_softmax(logits, -1)
    return torch.gather(log_p, -1, ids[..., None])[..., 0]


def update(theirs, loss):
    loss.backward()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter -= RATE * parameter.grad


def fitted(ours, loss, units, paired=False):
    batches = Batches(
        units,
        RowShape(True, 16, 16),
        batch_size=3,
        columns=3,
        seed=0,
        paired=paired,
    )
    assert batches.steps == 1
    ours.compile(keras.optimizers.SGD(RATE), loss)
    return ours.fit(batches, shuffle=False, verbose=0).history["loss"][0]


def same(ours, theirs, folder):
    ours.vocabulary = LetterVocabulary()
    ours.vocabulary = None
    to_huggingface(ours, folder / "after")
    found = transformers.AutoModelForCausalLM.from_pretrained(folder / "after")
    moved = 0.0
    before = transformers.AutoModelForCausalLM.from_pretrained(folder / "start")
    for name, expected in theirs.state_dict().items():
        was = before.state_dict()[name]
        moved = max(moved, float((expected - was).abs().max()))
        np.testing.assert_allclose(
            found.state_dict()[name].numpy(),
            expected.numpy(),
            rtol=1e-4,
            atol=2e-6,
            err_msg=name,
        )
    assert moved > 1e-3


class Accelerator:
    num_processes = 1
    sync_gradients = False
    device = "cpu"

    def gather(self, x):
        return x

    def reduce(self, x, reduction):
        return x


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("sharing", ["grpo", "dr_grpo", "dapo"])
def test_grpo(sharing, beta, tmp_path):
    ours, theirs = pair(tmp_path)
    prompts, ids, mask = inputs()
    with torch.no_grad():
        now = log_probabilities(theirs, prompts, ids)
    noise = torch.tensor(
        np.random.default_rng(0).normal(scale=0.3, size=(2, *now.shape)),
        dtype=torch.float32,
    )
    old, reference = now + noise[0], now + noise[1]
    rewards = [1.0, 0.0, 0.0, 1.0]
    weights = advantages(rewards, spread=sharing != "dr_grpo")

    trainer = types.SimpleNamespace(
        model=theirs.train(),
        loss_type=sharing,
        beta=beta,
        epsilon_low=0.2,
        epsilon_high=0.28,
        importance_sampling_level="token",
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        max_completion_length=LONGEST,
        current_gradient_accumulation_steps=1,
        accelerator=Accelerator(),
        args=types.SimpleNamespace(
            delta=None, use_bias_correction_kl=False, steps_per_generation=1
        ),
        _metrics=collections.defaultdict(lambda: collections.defaultdict(list)),
        _get_per_token_logps_and_entropies=lambda *_, **__: (
            log_probabilities(theirs, prompts, ids),
            torch.zeros(ids.shape),
            None,
        ),
    )
    loss = trl.GRPOTrainer._compute_loss(
        trainer,
        theirs,
        {
            "prompt_ids": prompts,
            "prompt_mask": torch.ones_like(prompts),
            "completion_ids": ids,
            "completion_mask": mask,
            "advantages": torch.tensor(weights),
            "old_per_token_logps": old,
            "ref_per_token_logps": reference,
            "num_items_in_batch": mask.sum(),
        },
    )
    update(theirs, loss)

    lengths = list(map(len, PATHS))
    scales = token_scales(lengths, sharing, LONGEST)
    units = []
    for row, (path, weight) in enumerate(zip(PATHS, weights, strict=True)):
        columns = np.zeros((len(path), 3), "float32")
        columns[:, 0] = weight
        columns[:, 1] = old[row, : len(path)]
        columns[:, 2] = reference[row, : len(path)]
        units.append([Segment(PROMPT, path, columns, scales[row])])
    found = fitted(ours, PathLoss((0.2, 0.28), beta), units)
    assert found == pytest.approx(float(loss), abs=1e-5)
    same(ours, theirs, tmp_path)


@pytest.mark.parametrize("kind", ["sigmoid", "ipo"])
def test_dpo(kind, tmp_path):
    ours, theirs = pair(tmp_path)
    prompts, ids, mask = inputs()
    with torch.no_grad():
        now = log_probabilities(theirs, prompts, ids)
    noise = np.random.default_rng(0).normal(scale=0.3, size=now.shape)
    reference = (now + torch.tensor(noise, dtype=torch.float32)) * mask

    def model(**_):
        log_p = log_probabilities(theirs, prompts, ids) * mask
        return types.SimpleNamespace(log_probs=log_p)

    # Chosen are the first half, rejected the second.
    sums = reference.sum(1)
    trainer = types.SimpleNamespace(
        model=theirs.train(),
        accelerator=Accelerator(),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[kind],
        loss_weights=[1.0],
        beta=0.1,
        label_smoothing=0.0,
        use_weighting=False,
        _metrics=collections.defaultdict(lambda: collections.defaultdict(list)),
    )
    whole = torch.cat([torch.zeros_like(prompts), mask.long()], 1)
    given = {
        "input_ids": torch.cat([prompts, ids], 1),
        "completion_mask": whole,
        "ref_chosen_logps": sums[:2],
        "ref_rejected_logps": sums[2:],
    }
    loss = dpo_loss(trainer, model, given)
    update(theirs, loss)

    units = []
    for number in (0, 1):
        unit = []
        for row, sign in ((number, 1.0), (number + 2, -1.0)):
            path = PATHS[row]
            columns = np.zeros((len(path), 3), "float32")
            columns[:, 0] = number
            columns[:, 1] = sign / (len(path) if kind == "ipo" else 1)
            columns[:, 2] = reference[row, : len(path)]
            unit.append(Segment(PROMPT, path, columns, 0.5))
        units.append(unit)
    its = PreferenceLoss("dpo" if kind == "sigmoid" else "ipo", 0.1)
    found = fitted(ours, its, units, paired=True)
    assert found == pytest.approx(float(loss), abs=1e-5)
    same(ours, theirs, tmp_path)


def dpo_loss(trainer, model, given):
    """TRL's loss; what it measures besides needs a whole trainer."""
    found = {}
    ours = torch.Tensor.mean

    def mean(self, *arguments, **settings):
        value = ours(self, *arguments, **settings)
        if value.requires_grad and value.ndim == 0:
            found.setdefault("loss", value)
        return value

    torch.Tensor.mean = mean
    try:
        trl.DPOTrainer._compute_loss(trainer, model, given, False)
    except AttributeError:
        if "loss" not in found:
            raise
    finally:
        torch.Tensor.mean = ours
    return found["loss"]
