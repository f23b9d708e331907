"""Every loss that TRL has is TRL's: its real trainers say what a batch costs, and which way the policy should move."""

import pytest
import torch
from torch.testing import assert_close

from moalign.training.losses import LOSSES, PairScores, find_loss

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*")
BETA = 0.37
TEXTS = [  # of different lengths, so that averages over tokens differ from sums; TRL joins prompt and completion as they are
    ("a b c", " good yes", " bad no ! long long"),
    ("d e", " short .", " long ."),
    ("f", " yes yes yes a b c", " no"),
    ("g h i j", " k l m", " n o p q r"),
]
PLAIN = ["sigmoid", "sigmoid_norm", "hinge", "ipo", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down"]
WITH_DIVERGENCE = ["sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop"]
CASES = [
    *((name, {}, {}) for name in PLAIN),
    *(("robust", {"label_smoothing": e}, {"label_smoothing": e}) for e in (0.0, 0.1, 0.4)),
    *(("exo_pair", {"label_smoothing": e}, {"label_smoothing": e}) for e in (1e-3, 0.2)),
    *(("discopop", {"discopop_tau": t}, {"tau": t}) for t in (0.05, 0.5, 2.0)),
    *(
        (name, {"f_divergence_type": f, "label_smoothing": 0.1}, {"divergence": f})
        for name in WITH_DIVERGENCE
        for f in ("reverse_kl", "forward_kl", "js_divergence")
    ),
    *(
        (
            name,
            {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": alpha, "label_smoothing": 0.1},
            {"divergence": "alpha_divergence", "alpha": alpha},
        )
        for name in WITH_DIVERGENCE
        for alpha in (-0.5, 0.3, 1.0, 1.4)
    ),
]


@pytest.fixture(scope="module")
def models(tiny_base):
    """A policy, and a reference that differs by a nat or two per completion."""
    from transformers import AutoModelForCausalLM

    policy, reference = (AutoModelForCausalLM.from_pretrained(tiny_base) for _ in range(2))
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return policy, reference


@pytest.fixture(scope="module")
def rows():
    from datasets import Dataset

    columns = zip(*TEXTS, strict=True)
    return Dataset.from_dict(dict(zip(("prompt", "chosen", "rejected"), map(list, columns), strict=True)))


@pytest.fixture
def trainer(models, rows, tokenizer, tmp_path):
    """Makes real DPO trainers."""
    from trl import DPOConfig, DPOTrainer

    def make(**options):
        args = DPOConfig(
            output_dir=str(tmp_path), beta=BETA, bf16=False, use_cpu=True, report_to=[], gradient_checkpointing=False,
            per_device_train_batch_size=len(TEXTS), disable_tqdm=True, **options,
        )  # fmt: skip
        policy, reference = models
        return DPOTrainer(policy, ref_model=reference, args=args, train_dataset=rows, processing_class=tokenizer)

    return make


def summed_log_probs(model, batch):
    """By the same forward as TRL's, whose rounding of 20 nats would otherwise show."""
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels, fused_lm_head=True)
    return out.log_probs.sum(-1).chunk(2)


def scores_of(models, batch, beta=BETA):
    policy, reference = models
    a, b = summed_log_probs(policy, batch)
    with torch.no_grad():
        reference_a, reference_b = summed_log_probs(reference, batch)
    length_a, length_b = batch["completion_mask"].sum(-1).chunk(2)
    return PairScores(
        policy_a=a, policy_b=b, reference_a=reference_a, reference_b=reference_b,
        length_a=length_a, length_b=length_b, scale=torch.full_like(a, beta), margin=torch.zeros_like(a),
    )  # fmt: skip


def loss_and_gradient(loss, model):
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, parameters)
    return loss.detach(), torch.cat([g.flatten() for g in gradients])


@pytest.mark.parametrize(("name", "theirs", "ours"), CASES, ids=lambda x: str(x) if isinstance(x, str) else None)
def test_dpo_trainer(name, theirs, ours, trainer, models):
    if name in ("robust", "exo_pair"):
        ours = {"label_smoothing": 0.1, **ours}
    their_trainer = trainer(loss_type=[name], **theirs)
    batch = next(iter(their_trainer.get_train_dataloader()))
    their_loss = their_trainer.compute_loss(their_trainer.model, batch)
    our_loss = find_loss(name, **ours)(scores_of(models, batch), torch.ones(len(TEXTS))).mean()
    expected, their_gradient = loss_and_gradient(their_loss, models[0])
    got, our_gradient = loss_and_gradient(our_loss, models[0])
    assert_close(got, expected, atol=1e-6, rtol=1e-6)
    assert_close(our_gradient, their_gradient, atol=1e-4 * their_gradient.abs().max().item(), rtol=0)


def test_the_batch_can_tell_losses_apart(trainer, models):
    batch = next(iter(trainer().get_train_dataloader()))
    scores = scores_of(models, batch)
    h_a, h_b = scores.log_ratios()
    assert h_a.abs().min() > 0.05
    assert not torch.equal(scores.length_a, scores.length_b)
    means = [loss(scores, torch.ones(4)).mean().item() for loss in map(find_loss, LOSSES)]
    assert len({round(mean, 4) for mean in means}) == len(LOSSES)
    assert (h_a - h_b).min() < 0 < (h_a - h_b).max()


def test_the_log_probs_are_those_of_the_completions(trainer, models):
    batch = next(iter(trainer().get_train_dataloader()))
    with torch.no_grad():
        logits = models[0](input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    chosen = logits[:, :-1].log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    sums = (chosen * batch["completion_mask"][:, 1:]).sum(-1)
    assert_close(torch.cat(summed_log_probs(models[0], batch)), sums, atol=1e-5, rtol=1e-5)


def test_simpo_of_the_cpo_trainer(tiny_base, rows, tokenizer, tmp_path):
    from transformers import AutoModelForCausalLM
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    args = CPOConfig(
        output_dir=str(tmp_path), loss_type="simpo", cpo_alpha=0.0, simpo_gamma=0.8, beta=2.3,
        bf16=False, use_cpu=True, report_to=[], gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    their_trainer = CPOTrainer(model, args=args, train_dataset=rows, processing_class=tokenizer)
    a, b, length_a, length_b = -8 * torch.rand(4), -8 * torch.rand(4), torch.arange(1, 5), torch.tensor([3, 1, 7, 2])
    expected, _, _ = their_trainer.cpo_loss(a / length_a, b / length_b)  # the trainer hands it averages
    scores = PairScores(policy_a=a, policy_b=b, length_a=length_a, length_b=length_b, scale=2.3)
    got = find_loss("simpo", gamma=0.8)(scores, torch.ones(4))
    assert_close(got, expected, atol=1e-6, rtol=1e-6)
