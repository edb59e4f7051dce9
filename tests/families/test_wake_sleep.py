"""The Helmholtz machine on machines small enough to enumerate: every state of every unit, every probability exact."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from musegen.contracts.dataset import Batch
from musegen.contracts.domain import Spec
from musegen.contracts.family import Sampling
from musegen.engine.engine import Engine
from musegen.errors import BadInput
from musegen.families.wake_sleep import CODE_SCALE, SIGMA_MIN, WakeSleep, WakeSleepConfig, reweighted
from musegen.networks.mlp import MLPDecoder, MLPEncoder
from musegen.probability.likelihood import Bernoulli, Gaussian
from musegen.running.config import RunConfig

N_X = 4


def machine(seed: int = 0, **options: Any) -> WakeSleep:
    """Binary x of 4 cells under 3 and 2 units, weights of some size, in double precision."""
    torch.manual_seed(seed)
    config = WakeSleepConfig(**({"layers": [3, 2]} | options))
    networks: dict[str, nn.Module] = {
        "encoder": MLPEncoder((N_X,), [5]),
        "decoder": MLPDecoder(config.layers[0], (N_X,), [5]),
    }
    family = WakeSleep(config, Spec((N_X,), ("cell",), Bernoulli()), networks).double()
    for p in family.parameters():
        nn.init.normal_(p, std=0.5)
    with torch.no_grad():
        family.decoder.layers[0].weight /= 2 * CODE_SCALE  # a posterior that q comes near enough to
    return family


def batch_of(x: Tensor) -> Batch:
    return Batch(x, torch.arange(len(x)))


def states(n: int) -> Tensor:
    """All binary vectors: ``(2**n, n)``."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


def every_h(family: WakeSleep, n_x: int) -> list[Tensor]:
    """Every state of all hidden layers, for each of n_x examples: the samples h^k of an exhaustive K."""
    widths = family.config.layers
    parts = states(sum(widths)).repeat_interleave(n_x, 0).split(widths, 1)  # (K·B, Σ n_l), batch fastest
    return [part.contiguous() for part in parts]


def exact_log_px(family: WakeSleep, x: Tensor) -> Tensor:
    return family.log_p(x, every_h(family, len(x))).logsumexp(0)


def gradient(value: Tensor, family: WakeSleep, player: str) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, family.parameters_of(player))])


@pytest.mark.parametrize("layers", [[3], [3, 2], [2, 2, 2]])
def test_both_networks_are_normalised_distributions(layers: list[int]) -> None:
    """Σ_x Σ_h p(x, h) = 1 and Σ_h q(h|x) = 1: every layer is counted, once."""
    family, x = machine(layers=layers), states(N_X)
    assert exact_log_px(family, x).logsumexp(0).exp().item() == pytest.approx(1, abs=1e-9)
    total = family.log_q(x, every_h(family, len(x))).logsumexp(0).exp()
    torch.testing.assert_close(total, torch.ones_like(total))


def test_log_densities_by_hand() -> None:
    """Two layers of one unit each over one example, written out."""
    family = machine(layers=[1, 1])
    x = torch.tensor([[1.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    h = [torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)]
    on = torch.sigmoid
    top = on(family.prior.bias)[0]
    middle = on(family.generative[0].bias[0])  # the unit above is off
    cells = on(family.params(h[0]))[0]
    log_p = (1 - top).log() + middle.log() + (x[0] * cells + (1 - x[0]) * (1 - cells)).log().sum()
    assert family.log_p(x, h).item() == pytest.approx(log_p.item())
    low = on(family.recognition[0](family.encoder(x)))[0, 0]
    high = on(family.recognition[1].weight[0, 0] + family.recognition[1].bias[0])
    assert family.log_q(x, h).item() == pytest.approx((low.log() + (1 - high).log()).item())


def test_the_wake_gradient_with_the_exact_posterior_is_the_gradient_of_the_likelihood() -> None:
    """∇ log p(x) = E_{p(h|x)} ∇ log p(x, h): over all h, the weights p(x, h) normalise to the posterior."""
    family, x = machine(), states(N_X)[[3, 7, 12]]
    log_p = family.log_p(x, every_h(family, len(x)))
    wake = gradient(reweighted(log_p, log_p).sum(), family, "generative")
    exact = gradient(-exact_log_px(family, x).sum(), family, "generative")
    torch.testing.assert_close(wake, exact)
    assert float(exact.norm()) > 0.1


def test_the_wake_phase_q_update_descends_kl_from_the_posterior() -> None:
    """−Σ_h p(h|x) log q(h|x) and KL(p(h|x) ‖ q(h|x)) have one gradient."""
    family, x = machine(), states(N_X)[[1, 14]]
    h = every_h(family, len(x))
    log_p, log_q = family.log_p(x, h), family.log_q(x, h)
    posterior = log_p.detach().log_softmax(0)
    kl = (posterior.exp() * (posterior - log_q)).sum()
    descent = gradient(reweighted(log_p, family.log_q(x, h)).sum(), family, "recognition")
    torch.testing.assert_close(descent, gradient(kl, family, "recognition"))


def test_the_reweighted_gradient_approaches_the_exact_one_as_k_grows() -> None:
    """Draws from q instead of enumeration: the error of the self-normalised estimate vanishes."""
    family, x = machine(algorithm="reweighted"), states(N_X)[[5]]
    exact = gradient(-exact_log_px(family, x).sum(), family, "generative")

    def estimate(k: int) -> Tensor:
        h = family.infer(x, k)
        log_p = family.log_p(x, h)
        return gradient(reweighted(log_p - family.log_q(x, h), log_p).sum(), family, "generative")

    torch.manual_seed(0)
    # The bias: many estimates averaged. K = 1 is wake-sleep's wake phase, whose bias does not go away.
    bias = {k: float((torch.stack([estimate(k) for _ in range(300)]).mean(0) - exact).norm()) for k in (1, 20)}
    assert bias[1] > 0.3 * float(exact.norm())
    assert bias[20] < 0.3 * bias[1]
    assert float((estimate(100_000) - exact).norm()) < 0.02 * float(exact.norm())


def test_the_yielded_losses_are_the_algorithms() -> None:
    """The generator's reweighted losses, recomputed from the same draws."""
    family, x = machine(algorithm="reweighted", importance_samples=6, q_update="wake"), states(N_X)
    torch.manual_seed(4)
    (_, generative), (_, recognition) = list(family.updates(batch_of(x)))
    torch.manual_seed(4)
    h = family.infer(x, 6)
    log_p, log_q = family.log_p(x, h), family.log_q(x, h)
    weights = (log_p - log_q).exp()
    weights = weights / weights.sum(0)
    torch.testing.assert_close(generative["loss"], -(weights * log_p).sum(0).mean())
    torch.testing.assert_close(recognition["loss"], -(weights * log_q).sum(0).mean())
    torch.testing.assert_close(generative["nelbo"], -((log_p - log_q).exp().mean(0).log()).mean())


def test_the_sleep_gradient_is_that_of_the_exact_expectation() -> None:
    """E_{p(x, h)} −∇ log q(h|x), summed over every x and h, against dreams."""
    family, x = machine(layers=[2, 2]), states(N_X)
    h = every_h(family, len(x))
    p, log_q = family.log_p(x, h).detach().exp(), family.log_q(x, h)
    exact = gradient(-(p * log_q).sum(), family, "recognition")
    torch.manual_seed(0)
    many = torch.zeros(100_000, N_X, dtype=torch.float64)  # only the number of examples matters to a dream
    (_, _), (player, losses) = list(family.updates(batch_of(many)))
    assert player == "recognition"
    found = gradient(losses["loss"], family, "recognition")
    assert float((found - exact).norm()) < 0.02 * float(exact.norm())


def test_dreams_and_recognition_follow_their_laws() -> None:
    """Frequencies of whole states against enumerated probabilities."""
    family, n = machine(layers=[2, 2]), 200_000
    powers = torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64)
    torch.manual_seed(0)
    count = lambda h: torch.bincount((torch.cat(h, 1) @ powers).long(), minlength=16) / n  # noqa: E731
    x = states(N_X)
    p_h = family.log_p(x, every_h(family, len(x))).exp().sum(1)
    torch.testing.assert_close(count(family.dream(n)).double(), p_h, atol=0.005, rtol=0)
    one = x[[9]]
    q_h = family.log_q(one, every_h(family, 1)).exp()[:, 0]
    torch.testing.assert_close(count(family.infer(one, n)).double(), q_h, atol=0.005, rtol=0)


def test_no_gradient_passes_through_samples_or_to_the_other_network() -> None:
    family = machine(algorithm="reweighted")
    for player, losses in family.updates(batch_of(states(N_X))):
        (other,) = set(family.players) - {player}
        gradients = torch.autograd.grad(
            losses["loss"], family.parameters_of(other), retain_graph=True, allow_unused=True
        )
        assert all(g is None for g in gradients)
        assert all(g.abs().sum() > 0 for g in torch.autograd.grad(losses["loss"], family.parameters_of(player)))


@pytest.mark.parametrize("algorithm", ["wake-sleep", "reweighted"])
def test_wake_moves_the_generative_network_then_the_recognition_network_moves(algorithm: str) -> None:
    family = machine(algorithm=algorithm, layers=[3, 2])
    engine = Engine(family, RunConfig(steps=1, learning_rate=0.01))
    moved: list[tuple[str, set[str]]] = []
    move = engine._move

    def watched(player: str) -> None:
        before = {name: p.detach().clone() for name, p in family.named_parameters()}
        move(player)
        changed = {name.split(".")[0] for name, p in family.named_parameters() if not torch.equal(before[name], p)}
        moved.append((player, changed))

    engine._move = watched  # type: ignore[method-assign]
    engine.step([batch_of(states(N_X))])
    assert moved == [("generative", {"prior", "generative", "decoder"}), ("recognition", {"encoder", "recognition"})]


def test_each_q_update_teaches_from_its_own_phase() -> None:
    """A sleep update never looks at the data; a wake update never dreams; both are the mean of the two."""
    x = states(N_X)
    reported = {}
    for q_update in ("wake", "sleep", "both"):
        family = machine(algorithm="reweighted", q_update=q_update)
        dreams = []
        family.dream = lambda n, dream=family.dream, seen=dreams: seen.append(n) or dream(n)  # type: ignore[method-assign]
        (_, _), (_, losses) = list(family.updates(batch_of(x)))
        reported[q_update] = set(losses) - {"loss"}
        assert bool(dreams) == (q_update != "wake")
        torch.testing.assert_close(losses["loss"], torch.stack([losses[k] for k in reported[q_update]]).mean())
    assert reported == {"wake": {"wake"}, "sleep": {"sleep"}, "both": {"wake", "sleep"}}


def test_log_prob_approaches_the_exact_likelihood_from_below() -> None:
    family, x = machine().eval(), states(N_X)[::3]
    with torch.no_grad():
        exact = exact_log_px(family, x)
        torch.manual_seed(0)
        means = {k: torch.stack([family.log_prob(x, k) for _ in range(600 // k)]).mean(0) for k in (1, 10)}
        close = family.log_prob(x.repeat(50, 1), 100).view(50, -1).exp().mean(0).log()  # (50·6,) -> (6,): K = 5000
    torch.testing.assert_close(close, exact, atol=0.05, rtol=0)
    assert (means[1] < means[10]).all()
    assert (means[10] < exact).all()


@pytest.mark.parametrize("algorithm", ["wake-sleep", "reweighted"])
def test_training_climbs_to_the_entropy_of_the_data(algorithm: str) -> None:
    """Four patterns of equal frequency: no model exceeds −log 4 nats, and a machine with enough units comes close."""
    torch.manual_seed(0)
    patterns = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]])
    config = WakeSleepConfig(layers=[4, 3], algorithm=algorithm)
    networks: dict[str, nn.Module] = {
        "encoder": MLPEncoder((N_X,), [16]),
        "decoder": MLPDecoder(4, (N_X,), [16]),
    }
    family = WakeSleep(config, Spec((N_X,), ("cell",), Bernoulli()), networks)
    engine = Engine(family, RunConfig(steps=500, learning_rate=0.02, schedule="cosine"))
    for _ in range(500):
        engine.step([batch_of(patterns.repeat(8, 1))])
    family.double()
    with torch.no_grad():
        log_px = float(exact_log_px(family, patterns.double()).mean())
    assert -math.log(4) - 0.35 < log_px < -math.log(4)


class _Linear(nn.Module):
    """x or h as it is, through one linear layer, with a fixed scale: a linear-Gaussian conditional of the data."""

    def __init__(self, weight: Tensor, raw_scale: float) -> None:
        super().__init__()
        self.weight, self.raw_scale, self.n_features = nn.Parameter(weight), raw_scale, len(weight)

    def forward(self, h: Tensor) -> Tensor:
        mean = h @ self.weight.T
        return torch.stack([mean, torch.full_like(mean, self.raw_scale)], 1)  # 2 × (B, n) -> (B, 2, n)


def gaussian_machine(layers: list[int]) -> WakeSleep:
    """x of 2 cells under Gaussian units whose means are linear and whose scales do not depend on what is above."""
    torch.manual_seed(3)
    encoder = nn.Identity()
    encoder.n_features = 2  # type: ignore[assignment]
    networks: dict[str, nn.Module] = {"encoder": encoder, "decoder": _Linear(torch.randn(2, layers[0]), 0.2)}
    config = WakeSleepConfig(layers=layers, units="gaussian")
    family = WakeSleep(config, Spec((2,), ("cell",), Gaussian()), networks).double()
    with torch.no_grad():
        for layer in family.generative:
            layer.weight[layer.out_features // 2 :] = 0  # rows of the raw scale
        for layer in family.recognition:
            layer.weight.zero_()
            layer.bias[layer.out_features // 2 :] = 1.5  # broad enough to propose from
        family.prior.bias.copy_(torch.randn_like(family.prior.bias))
    return family


def marginal(family: WakeSleep) -> torch.distributions.MultivariateNormal:
    """p(x) of a ``gaussian_machine``: means and covariances pushed down layer by layer."""
    scale = lambda raw: SIGMA_MIN + nn.functional.softplus(torch.as_tensor(raw, dtype=torch.float64))  # noqa: E731
    mean, covariance = family.prior.bias[0], torch.diag(scale(family.prior.bias[1]) ** 2)
    for layer in reversed(family.generative):
        n = layer.out_features // 2
        weight, (bias, raw) = layer.weight[:n], layer.bias.view(2, n)
        mean, covariance = weight @ mean + bias, weight @ covariance @ weight.T + torch.diag(scale(raw) ** 2)
    weight = family.decoder.weight
    noise = scale(family.decoder.raw_scale) ** 2 * torch.eye(2, dtype=torch.float64)
    return torch.distributions.MultivariateNormal(weight @ mean, weight @ covariance @ weight.T + noise)


@pytest.mark.parametrize("layers", [[1], [2, 1]])
def test_gaussian_units_have_the_marginal_of_a_linear_gaussian_model(layers: list[int]) -> None:
    family = gaussian_machine(layers).eval()
    with torch.no_grad():
        exact = marginal(family)
        x = exact.sample((6,))
        close = (
            family.log_prob(x.repeat(2000, 1), 50).view(2000, -1).exp().mean(0).log()
        )  # (2000·6,) -> (6,): K = 100,000
        torch.testing.assert_close(close, exact.log_prob(x), atol=0.08, rtol=0)
        dreams = family.dream(200_000)
        assert [h.shape[1] for h in dreams] == layers
        drawn = family.likelihood.sample(family.params(dreams[0]))
    torch.testing.assert_close(drawn.mean(0), exact.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), exact.covariance_matrix, atol=0.1, rtol=0.03)


def test_gaussian_units_learn_the_variance_of_their_data() -> None:
    """One unit over two cells that share a cause is factor analysis: training reaches the data's own likelihood."""
    torch.manual_seed(0)
    cause, noise = torch.randn(4000, 1), 0.5 * torch.randn(4000, 2)
    x = cause @ torch.tensor([[1.5, -1.0]]) + noise + torch.tensor([0.5, 0.0])
    networks: dict[str, nn.Module] = {"encoder": MLPEncoder((2,), [8]), "decoder": MLPDecoder(1, (2, 2), [8])}
    config = WakeSleepConfig(layers=[1], units="gaussian", algorithm="reweighted")
    family = WakeSleep(config, Spec((2,), ("cell",), Gaussian()), networks)
    engine = Engine(family, RunConfig(steps=400, learning_rate=0.02, schedule="cosine"))
    for _ in range(400):
        engine.step([batch_of(x[torch.randint(4000, (128,))])])
    best = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov()).log_prob(x).mean()
    independent = torch.distributions.Normal(x.mean(0), x.std(0)).log_prob(x).sum(1).mean()
    with torch.no_grad():
        found = family.eval().log_prob(x, 50).mean()
    assert best - 0.1 < found < best + 0.05
    assert best - independent > 0.4  # what the hidden unit is for


def test_shapes_of_codes_and_samples() -> None:
    family = machine(layers=[3, 2])
    x = states(N_X)
    assert family.encode(x).shape == (16, 3)
    torch.testing.assert_close(family.reconstruct(x), family.decode(family.encode(x)))
    torch.manual_seed(0)
    assert family.sample(7).shape == (7, N_X)
    # At temperature 0 every unit takes its likelier state: nothing is random.
    family.sampling = Sampling(temperature=0)
    assert len(family.sample(50).unique(dim=0)) == 1


@pytest.mark.parametrize("layers", [[3], [4, 3], [4, 3, 2]])
def test_the_graph_of_any_depth_agrees_with_the_networks(layers: list[int]) -> None:
    family = machine(layers=layers)
    learning = {n for n, module in family.named_children() if list(module.parameters())}
    players = {player: entry.networks for player, entry in family.players.items()}
    family.graph(family.config).check(learning, players)
    assert {n for networks in players.values() for n in networks} == learning


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(BadInput, match="algorithm=reweighted"):
        WakeSleepConfig(importance_samples=5)
    with pytest.raises(BadInput, match="algorithm=reweighted"):
        WakeSleepConfig(q_update="both")
    for layers in ([], [3, 0]):
        with pytest.raises(BadInput, match="at least one"):
            WakeSleepConfig(layers=layers)
    assert (WakeSleepConfig().k, WakeSleepConfig().phases) == (1, ("sleep",))
    assert WakeSleepConfig(algorithm="reweighted").k == 5
    assert WakeSleepConfig(algorithm="reweighted").phases == ("wake", "sleep")
