"""The split of the ELBO against closed forms and whole data sets; the Concrete distribution against torch and quadrature."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear import Identity, UnitGaussian
from torch import Tensor, nn
from torch.distributions import RelaxedOneHotCategorical

import musegen
from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.engine.engine import Engine
from musegen.errors import BadInput
from musegen.families.structured_vae import (
    Factorised,
    StructuredVAE,
    StructuredVAEConfig,
    decomposed_kl,
    stratified_log_weights,
)
from musegen.networks.mlp import MLPDecoder, MLPEncoder
from musegen.probability.latent import Concrete, DiagonalGaussian
from musegen.probability.likelihood import Bernoulli
from musegen.running import session
from musegen.running.config import RunConfig

TERMS = ("mutual_information", "total_correlation", "group_correlation", "dimension_kl")
ONES: dict[str, float] = dict.fromkeys(TERMS, 1.0)


def small(**options: Any) -> StructuredVAE:
    """Binary x of 6 cells; codes of 3 and 2 classes, groups of 2 and 1 numbers."""
    config = StructuredVAEConfig(**({"discrete": [3, 2], "continuous": [2, 1]} | options))
    networks: dict[str, nn.Module] = {
        "encoder": MLPEncoder((6,), [8]),
        "decoder": MLPDecoder(config.n_code, (6,), [8]),
    }
    return StructuredVAE(config, Spec((6,), ("cell",), Bernoulli()), networks)


def binary(n: int) -> Tensor:
    return (torch.rand(n, 6) < 0.5).float()


def batch_of(x: Tensor) -> Batch:
    return Batch(x, torch.arange(len(x)))


# The Concrete distribution


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 6), st.floats(0.2, 3), st.integers(0, 10_000))
def test_the_concrete_density_matches_torch(k: int, relaxation: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, k, generator=generator, dtype=torch.float64).mul(2)
    c = torch.randn(4, k, generator=generator, dtype=torch.float64).softmax(1)
    ours = Concrete(logits.log_softmax(1), relaxation).log_prob(c.log()) - c.log().sum(1)  # of c instead of log c
    theirs = RelaxedOneHotCategorical(torch.tensor(relaxation, dtype=torch.float64), logits=logits)
    torch.testing.assert_close(ours, theirs.log_prob(c))


@pytest.mark.parametrize("relaxation", [0.4, 2 / 3, 1.0])
def test_the_concrete_density_integrates_to_one(relaxation: float) -> None:
    """K = 3: on the simplex dc = c₁ c₂ c₃ du dv with u = log c₁/c₃, v = log c₂/c₃, so the density of log c is enough."""
    axis = torch.linspace(-60, 60, 1201, dtype=torch.float64)
    u, v = torch.meshgrid(axis, axis, indexing="ij")
    log_c = torch.stack([u, v, torch.zeros_like(u)], -1).log_softmax(-1)
    log_alpha = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log()
    mass = Concrete(log_alpha, relaxation).log_prob(log_c).exp().sum() * 0.1**2
    assert float(mass) == pytest.approx(1, abs=1e-6)


def test_draws_follow_the_density() -> None:
    """K = 2: log c₁/c₂ is logistic with location log α₁/α₂ / λ and scale 1/λ; the largest class is exactly categorical."""
    log_alpha = torch.tensor([0.3, 0.7]).log().expand(40_000, 2)
    log_c = Concrete(log_alpha, 0.5).rsample()
    torch.testing.assert_close(log_c.exp().sum(1), torch.ones(40_000))
    ratio = log_c[:, 0] - log_c[:, 1]
    assert float(ratio.mean()) == pytest.approx(math.log(3 / 7) / 0.5, abs=0.1)
    assert float(ratio.std()) == pytest.approx(math.pi / math.sqrt(3) / 0.5, rel=0.03)
    # Three classes: of two, the smaller noise would choose as well as the larger.
    log_alpha = torch.tensor([0.1, 0.2, 0.7]).log().expand(40_000, 3)
    for relaxation in (0.0, 0.1, 2.0):
        largest = Concrete(log_alpha, relaxation).rsample().argmax(1)
        frequency = nn.functional.one_hot(largest, 3).float().mean(0)
        torch.testing.assert_close(frequency, log_alpha[0].exp(), atol=0.01, rtol=0)


def test_without_relaxation_codes_are_one_hot_and_probabilities_exact() -> None:
    log_alpha = torch.randn(50, 4).log_softmax(1)
    q = Concrete(log_alpha, 0.0)
    log_c = q.rsample()
    c = log_c.exp()
    assert set(c.unique().tolist()) == {0.0, 1.0}
    assert (c.sum(1) == 1).all()
    torch.testing.assert_close(q.log_prob(log_c), log_alpha.gather(1, c.argmax(1, keepdim=True)).squeeze(1))


@pytest.mark.parametrize("relaxation", [0.05, 2 / 3])
def test_extreme_logits_stay_finite(relaxation: float) -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]], requires_grad=True)
    q = Concrete(logits.log_softmax(1), relaxation)
    log_prob = q.log_prob(q.rsample()[:, None])
    assert log_prob.isfinite().all()
    (gradient,) = torch.autograd.grad(log_prob.sum(), logits)
    assert gradient.isfinite().all()


# The estimate of the aggregate posterior


@pytest.mark.parametrize(("b", "n"), [(2, 5), (4, 4), (5, 100)])
def test_weights_are_the_mean_of_the_papers_stratified_weights(b: int, n: int) -> None:
    """1802.04942, appendix C.2: B = M + 1; own 1/N, then 1/M for M − 1 others and (N − M) / (N M) for the last one."""
    m = b - 1
    total, orders = torch.zeros(b), list(permutations(range(1, b)))
    for order in orders:
        weights = torch.zeros(b)
        weights[0] = 1 / n
        weights[list(order[:-1])] = 1 / m
        weights[order[-1]] = (n - m) / (n * m)
        total += weights
    torch.testing.assert_close(stratified_log_weights(b, n).exp()[0], total / len(orders))


@given(st.integers(1, 20), st.integers(1, 200))
def test_weights_add_up_to_one(b: int, n: int) -> None:
    torch.testing.assert_close(stratified_log_weights(b, n).exp().sum(1), torch.ones(b))


def test_the_estimate_is_unbiased_over_minibatches() -> None:
    """Every minibatch of 3 out of 6 that has example 0, for one draw of it, against the mean over the data set."""
    log_q = torch.randn(6, dtype=torch.float64)
    estimates = []
    for order in permutations(range(1, 6), 2):
        part = log_q[[0, *order]]
        estimates.append((part + stratified_log_weights(3, 6)[0]).exp().sum())
    torch.testing.assert_close(torch.stack(estimates).mean(), log_q.exp().mean())
    plain = log_q[0].exp() / 3 + log_q[1:].exp().mean() * 2 / 3  # what uniform weights would give
    assert float((plain - log_q.exp().mean()).abs()) > 0.01


def posterior(n: int, sizes: list[int], dims: int, relaxation: float = 0.5) -> Factorised:
    categorical = tuple(Concrete((2 * torch.randn(n, k)).log_softmax(1), relaxation) for k in sizes)
    return Factorised(categorical, DiagonalGaussian(torch.randn(n, dims), torch.randn(n, dims)))


def test_the_estimate_is_exact_when_the_minibatch_is_the_data_set() -> None:
    """log q(z), log q(z_g), log q(z_d) one example and one variable at a time, with densities of torch.distributions."""
    n, groups = 5, [1, 2, 1]
    logits, mean, std = torch.randn(n, 3).double(), torch.randn(n, 3).double(), torch.rand(n, 3).double() + 0.3
    lam = torch.tensor(0.5, dtype=torch.float64)
    q = Factorised((Concrete(logits.log_softmax(1), 0.5),), DiagonalGaussian(mean, 2 * std.log()))
    code = q.rsample()
    log_p = torch.randn(n, 4).double()
    found = decomposed_kl(q.log_prob(code[:, None]), log_p, groups, n)
    for i in range(n):
        c, z = code[i, :3].exp(), code[i, 3:]
        rows = []
        for j in range(n):
            # The density of log c: torch's density of c times the product of c.
            single = RelaxedOneHotCategorical(lam, logits=logits[j]).log_prob(c) + c.log().sum()
            rows.append([float(single), *torch.distributions.Normal(mean[j], std[j]).log_prob(z).tolist()])
        table = torch.tensor(rows, dtype=torch.float64).exp()  # (n, U)
        log_qz = table.prod(1).mean().log()
        log_qg = sum(part.prod(1).mean().log() for part in table.split(groups, 1))
        log_qd = table.mean(0).log().sum()
        own = table[i].log().sum()
        expected = (own - log_qz, log_qz - log_qg, log_qg - log_qd, log_qd - log_p[i].sum())
        for name, value in zip(TERMS, expected, strict=True):
            torch.testing.assert_close(found[name][i], value, msg=lambda m, name=name: f"{name}: {m}")


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 7), st.integers(1, 50), st.integers(0, 10_000))
def test_terms_add_up_to_the_log_ratio(b: int, n: int, seed: int) -> None:
    """Whatever the estimates are, for every single example."""
    torch.manual_seed(seed)
    q = posterior(b, [3, 2], 4)
    code = q.rsample()
    log_p = torch.randn(b, 6)
    terms = decomposed_kl(q.log_prob(code[:, None]), log_p, [1, 1, 3, 1], n)
    expected = (q.log_prob(code) - log_p).sum(1)
    torch.testing.assert_close(sum(terms[name] for name in TERMS), expected, rtol=1e-4, atol=1e-4)


def test_groups_of_one_variable_have_no_correlation_within() -> None:
    q = posterior(6, [3, 2], 2)
    code = q.rsample()
    terms = decomposed_kl(q.log_prob(code[:, None]), torch.zeros(6, 4), [1, 1, 1, 1], 40)
    torch.testing.assert_close(terms["group_correlation"], torch.zeros(6), atol=1e-5, rtol=0)
    one = decomposed_kl(q.log_prob(code[:, None]), torch.zeros(6, 4), [4], 40)
    torch.testing.assert_close(one["total_correlation"], torch.zeros(6), atol=1e-5, rtol=0)
    # With everything in one group, the dependence is within it: β-TCVAE's total correlation either way.
    torch.testing.assert_close(one["group_correlation"], terms["total_correlation"], atol=1e-5, rtol=1e-4)


# Aggregate posteriors whose information is known


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("within", [False, True])
def test_correlation_of_a_gaussian_aggregate_posterior(rho: float, within: bool) -> None:
    """q(z|x) = N(x, s²) with correlated Gaussian x: the total correlation is −½ log(1 − r²), r that of z, and
    I(x; z) = ½ log det(Σ_x / s² + 1)."""
    torch.manual_seed(0)
    n, s2 = 1500, 0.2
    chol = torch.linalg.cholesky(torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64))
    x = torch.randn(n, 2, dtype=torch.float64) @ chol.T
    q = Factorised((), DiagonalGaussian(x, torch.full_like(x, math.log(s2))))
    code = q.rsample()
    prior = Factorised((), DiagonalGaussian(torch.zeros_like(x), torch.zeros_like(x)))
    terms = decomposed_kl(q.log_prob(code[:, None]), prior.log_prob(code), [2] if within else [1, 1], n)
    means = {name: float(value.mean()) for name, value in terms.items()}
    correlation = -0.5 * math.log(1 - (rho / (1 + s2)) ** 2)
    information = 0.5 * math.log((1 + (1 + rho) / s2) * (1 + (1 - rho) / s2))
    found, other = ("group_correlation", "total_correlation") if within else ("total_correlation", "group_correlation")
    assert means[found] == pytest.approx(correlation, abs=0.04)
    assert means[other] == pytest.approx(0, abs=1e-9)
    assert means["mutual_information"] == pytest.approx(information, abs=0.06)
    # z_d ~ N(0, 1 + s²): KL to N(0, 1), twice.
    assert means["dimension_kl"] == pytest.approx(s2 - math.log(1 + s2), abs=0.04)


def test_information_of_a_noiseless_class() -> None:
    """Exact codes: c tells x's class out of 4, two codes that agree share log 4 nats, two that do not share none."""
    n = 400
    first = torch.arange(n) % 4
    for second, shared in ((first, math.log(4)), (torch.arange(n) // 4 % 2, 0.0)):
        parts = [torch.nn.functional.one_hot(c, k).float() for c, k in ((first, 4), (second, int(second.max()) + 1))]
        q = Factorised(
            tuple(Concrete((50 * p).log_softmax(1), 0.0) for p in parts),
            DiagonalGaussian(torch.zeros(n, 0), torch.zeros(n, 0)),
        )
        code = q.rsample()
        log_p = torch.tensor([-math.log(4), -math.log(parts[1].shape[1])]).expand(n, 2)
        terms = decomposed_kl(q.log_prob(code[:, None]), log_p, [1, 1], n)
        joint = math.log(4) if shared else math.log(8)
        assert float(terms["mutual_information"].mean()) == pytest.approx(joint, abs=1e-4)
        assert float(terms["total_correlation"].mean()) == pytest.approx(shared, abs=1e-4)
        assert float(terms["dimension_kl"].mean()) == pytest.approx(0, abs=1e-4)  # every class as often as any other


# The family


def test_groups_are_categorical_codes_one_by_one_and_then_the_continuous_groups() -> None:
    """The dependence within groups, and between them, of a family's own codes, from its posterior's tables."""
    vae, x = small(), binary(8)
    torch.manual_seed(4)
    ((_, losses),) = vae.updates(batch_of(x))
    torch.manual_seed(4)
    q = vae.q(x, vae.config.relaxation)
    code = q.rsample()
    # n_examples is 1 here, so the batch is the data set: plain means of densities, (B, B, U) with U = 2 + 3.
    density = q.log_prob(code[:, None]).double().exp()
    c1, c2, z1, z2, z3 = density.unbind(2)
    joint = (c1 * c2 * z1 * z2 * z3).mean(1).log()
    grouped = sum(part.mean(1).log() for part in (c1, c2, z1 * z2, z3))
    single = sum(part.mean(1).log() for part in (c1, c2, z1, z2, z3))
    torch.testing.assert_close(losses["total_correlation"].double(), (joint - grouped).mean(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(losses["group_correlation"].double(), (grouped - single).mean(), atol=1e-4, rtol=1e-4)
    assert float(losses["total_correlation"].detach()) != pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("training_mode", [True, False])
@pytest.mark.parametrize("codes", [{}, {"discrete": []}, {"continuous": []}])
def test_with_all_weights_one_the_loss_is_the_negative_elbo(codes: dict[str, Any], training_mode: bool) -> None:
    """Of the same draws: relaxed in training, with one-hot codes in evaluation; term by term from the definitions."""
    vae, x = small(**ONES, **codes).train(training_mode), binary(20)
    vae.n_examples = 1000
    torch.manual_seed(5)
    ((player, losses),) = vae.updates(batch_of(x))
    assert player == "autoencoder"
    torch.manual_seed(5)
    relaxation = vae.config.relaxation if training_mode else 0.0
    q, p = vae.q(x, relaxation), vae.prior(20, relaxation)
    code = q.rsample()
    m = sum(vae.config.discrete)
    seen = torch.cat([code[:, :m].exp(), code[:, m:]], 1)
    if not training_mode:
        assert ((seen[:, :m] == 0) | (seen[:, :m] == 1)).all()
    log_px = vae.likelihood.log_prob(vae.decoder(seen), x)
    elbo = (log_px + p.log_prob(code).sum(1) - q.log_prob(code).sum(1)).mean()
    torch.testing.assert_close(losses["loss"], -elbo)
    torch.testing.assert_close(losses["nelbo"], -elbo)


@pytest.mark.parametrize("name", TERMS)
def test_each_weight_weighs_its_own_term(name: str) -> None:
    vae, x = small(**ONES), binary(12)
    vae.n_examples = 100
    torch.manual_seed(2)
    ((_, losses),) = vae.updates(batch_of(x))
    heavy = small(**(ONES | {name: 3.5}))
    heavy.load_state_dict(vae.state_dict())
    heavy.n_examples = 100
    torch.manual_seed(2)
    ((_, weighted),) = heavy.updates(batch_of(x))
    torch.testing.assert_close(weighted["loss"], losses["loss"] + 2.5 * losses[name])
    torch.testing.assert_close(weighted["nelbo"], losses["nelbo"])
    assert abs(float(losses[name].detach())) > 1e-4


def test_the_decoder_sees_codes_with_the_gradient_of_the_loss() -> None:
    """The relaxation carries a gradient from the decoder to the logits; its direction lowers the loss."""
    torch.manual_seed(0)
    vae, x = small(discrete=[3], continuous=[], **ONES), binary(200)
    nn.init.normal_(vae.decoder.layers[0].weight)

    def reconstruction() -> Tensor:
        torch.manual_seed(1)
        ((_, losses),) = vae.updates(batch_of(x))
        return losses["reconstruction"]

    before = reconstruction()
    (gradient,) = torch.autograd.grad(before, [vae.posterior.weight])
    assert float(gradient.norm()) > 1e-3
    with torch.no_grad():
        vae.posterior.weight -= 0.02 * gradient / gradient.norm()
    assert float(reconstruction().detach()) < float(before.detach())


def test_log_prob_approaches_the_exact_marginal_of_categorical_codes() -> None:
    """Without continuous codes p(x) is a mixture of 6 components."""
    vae, x = small(continuous=[]), binary(9)
    nn.init.normal_(vae.decoder.layers[-1].weight)
    with torch.no_grad():
        components = [
            vae.likelihood.log_prob(vae.decoder(torch.cat([torch.eye(3)[i], torch.eye(2)[j]]).expand(9, 5)), x)
            for i in range(3)
            for j in range(2)
        ]
        exact = torch.stack(components).logsumexp(0) - math.log(6)
        torch.testing.assert_close(vae.log_prob(x, 3000), exact, atol=0.05, rtol=0)
        assert float(torch.stack([vae.log_prob(x) for _ in range(300)]).mean()) < float(exact.mean()) - 0.01
        vae.eval()
        nelbo = sum(float(next(vae.updates(batch_of(x)))[1]["nelbo"]) for _ in range(300)) / 300
        bound = float(torch.stack([vae.log_prob(x) for _ in range(300)]).mean())
    assert -nelbo == pytest.approx(bound, abs=0.1)  # validation bounds the same model


def test_codes_of_samples_and_of_data() -> None:
    vae = small().eval()
    seen: list[Tensor] = []
    vae.decoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    label = torch.tensor([2, 0, 1, 2])
    with torch.no_grad():
        assert vae.sample(4, label=label).shape == (4, 6)
        vae.sample(4000)
        vae.sampling = vae.Sampling(temperature=0.0)
        vae.sample(50)
        code = vae.encode(binary(30))
    assert torch.equal(seen[0][:, :3], nn.functional.one_hot(label, 3).float())
    torch.testing.assert_close(seen[1][:, :3].mean(0), torch.full((3,), 1 / 3), atol=0.03, rtol=0)
    torch.testing.assert_close(seen[1][:, 3:5].mean(0), torch.full((2,), 0.5), atol=0.03, rtol=0)
    torch.testing.assert_close(seen[1][:, 5:].std(0), torch.ones(3), atol=0.05, rtol=0)
    assert (seen[2][:, 5:] == 0).all()
    for c in (*(s[:, :3] for s in seen), code[:, :3], code[:, 3:5]):
        assert torch.equal(c.sort(1).values[:, -1], torch.ones(len(c)))  # exactly one-hot
        assert torch.equal(c.sum(1), torch.ones(len(c)))


def test_classify_is_the_posterior_of_the_first_code() -> None:
    vae, x = small().eval(), binary(7)
    with torch.no_grad():
        log_q = vae.classify(x)
        logits = vae.posterior(vae.encoder(x))[:, :3]
        torch.testing.assert_close(log_q, logits.log_softmax(1))
        assert torch.equal(vae.encode(x)[:, :3].argmax(1), log_q.argmax(1))


def test_what_does_not_fit_is_refused() -> None:
    for wrong in (torch.tensor([0, 3, 1]), torch.tensor([0, -1, 1]), torch.tensor([0, 1])):
        with pytest.raises(BadInput, match="3 whole numbers from 0 to 2"):
            small().sample(3, label=wrong)
    continuous = small(discrete=[])
    with pytest.raises(BadInput, match="no categorical code"):
        continuous.classify(binary(2))
    with pytest.raises(BadInput, match="no categorical code"):
        continuous.sample(2, label=torch.zeros(2, dtype=torch.long))
    assert continuous.sample(2).shape == (2, 6)
    for options in ({"discrete": [1]}, {"continuous": [0]}, {"discrete": [], "continuous": []}):
        with pytest.raises(BadInput, match="at least"):
            StructuredVAEConfig(**options)


def test_training_tells_the_family_the_size_of_the_data(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    kept = session.Session.__init__

    def watching(self: session.Session, *args: Any) -> None:
        kept(self, *args)
        seen.append(self.engine.family.n_examples)

    monkeypatch.setattr(session.Session, "__init__", watching)
    options = {"device": "cpu", "quiet": True, "batch_size": 8, "validate_every": 0, "sample_every": 0}
    run = musegen.train("structured_vae", "toy", out=tmp_path / "run", steps=2, examples=48, **options)
    musegen.resume(run.path, steps=3, quiet=True)
    assert seen == [48, 48]


class Bits(nn.Module):
    """p(x|c, z): class c moves the first cell of x, z the second."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, code: Tensor) -> Tensor:
        return self.layer(code)


def test_it_finds_a_class_and_a_style() -> None:
    """x₁ = ±4 is a class, x₂ ~ N(0, 3²) a style that does not depend on it."""
    torch.manual_seed(0)
    n = 512
    truth = torch.arange(n) % 2
    x = torch.stack([8.0 * truth - 4, 3 * torch.randn(n)], 1) + 0.3 * torch.randn(n, 2)
    config = StructuredVAEConfig(discrete=[2], continuous=[1], **ONES | {"total_correlation": 4.0})
    vae = StructuredVAE(config, Spec((2,), ("cell",), UnitGaussian()), {"encoder": Identity(2), "decoder": Bits()})
    vae.n_examples = n
    engine = Engine(vae, RunConfig(steps=300, learning_rate=0.05, schedule="linear"))
    for step in range(300):
        index = (torch.arange(128) + 128 * step) % n
        engine.step([Batch(x[index], index)])
    found = engine.evaluate([batch_of(x)])
    agreement = float((vae.classify(x).argmax(1) == truth).float().mean())
    assert max(agreement, 1 - agreement) > 0.99
    assert abs(found["autoencoder/total_correlation"]) < 0.1
    style = vae.encode(x)[:, 2].detach()
    assert abs(float(torch.corrcoef(torch.stack([style, x[:, 1]]))[0, 1])) > 0.99


# Weights and capacities of groups


def losses_of(vae: StructuredVAE, x: Tensor) -> dict[str, float]:
    torch.manual_seed(3)
    ((_, losses),) = vae.updates(batch_of(x))
    return {name: float(value.detach()) for name, value in losses.items()}


def test_weights_and_capacities_act_on_each_groups_kl() -> None:
    plain, x = small(), binary(16)
    torch.manual_seed(3)
    q, p = plain.q(x, plain.config.relaxation), plain.prior(16, plain.config.relaxation)
    single = q.log_prob(code := q.rsample()) - p.log_prob(code)
    kl = [float(part.detach().sum(1).mean()) for part in single.split([1, 1, 2, 1], 1)]
    before = losses_of(plain, x)["loss"]

    weights = [2.0, 1.0, 0.5, 1.0]
    weighed = small(weights=weights)
    weighed.load_state_dict(plain.state_dict())
    added = sum((w - 1) * k for w, k in zip(weights, kl, strict=True))
    assert losses_of(weighed, x)["loss"] - before == pytest.approx(added, abs=1e-4)

    capacities = [0.5, 0.0, 3.0, 1.0]
    held = small(capacities=capacities, capacity_steps=10, capacity_weight=7.0)
    held.load_state_dict(plain.state_dict())
    held.step = 4  # half of them by now
    added = sum(7 * abs(k - c / 2) - k for c, k in zip(capacities, kl, strict=True))
    assert losses_of(held, x)["loss"] - before == pytest.approx(added, abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 6), st.floats(0, 1))
def test_the_information_of_classes_that_are_certain_with_some_probability(k: int, certain: float) -> None:
    """Every class as often; an example is told its class with this probability, else nothing: I = certain · log K."""
    rows = round(certain * 20)
    sure = torch.eye(k).repeat(rows, 1)
    unsure = torch.full((k * (20 - rows), k), 1 / k)
    log_alpha = torch.cat([sure, unsure]).clamp_min(1e-30).log()
    zeros = torch.zeros(len(log_alpha), 1)
    q = Factorised((Concrete(log_alpha, 0.5),), DiagonalGaussian(zeros, zeros))
    (found,) = StructuredVAE.informations(q)
    assert float(found) == pytest.approx(rows / 20 * math.log(k), abs=1e-5)


@pytest.mark.parametrize(("floor", "least", "most"), [(0.0, -0.01, 0.3), (0.6, 0.5, 0.7)])
def test_a_floor_fills_the_class(floor: float, least: float, most: float) -> None:
    torch.manual_seed(0)
    patterns = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])[torch.arange(256) % 2]
    x = (patterns - (torch.rand(256, 6) < 0.05).float()).abs()
    vae = small(discrete=[2], continuous=[2], class_information=floor, capacity_steps=100)
    engine = Engine(vae, RunConfig(steps=200, learning_rate=5e-3))
    for _ in range(200):
        engine.step([batch_of(x[torch.randint(0, 256, (64,))])])
    with engine.averaged() as family, torch.no_grad():
        assert least < losses_of(family, x)["class_information"] < most  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1.0]}, "give 4 numbers"),
        ({"capacities": [1.0, 1.0, -1.0, 0.0]}, "from 0 on"),
        ({"class_information": 0.7}, "a code of 2 classes holds less than 0.6931 nats"),
    ],
)
def test_what_groups_cannot_have_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        small(**options)
