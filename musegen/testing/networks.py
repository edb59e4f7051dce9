"""What every domain promises of its networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest import SkipTest

import torch
from torch import Tensor, nn

from musegen.contracts.domain import Autoregressive, Decoder, Discriminator, Domain, Encoder, Wanted
from musegen.testing.domains import examples, support
from musegen.testing.rules import expect, rule

__all__ = ["RULES", "has_autoregressive"]

N_CODE, N_CONDITION, BATCH = 5, 3, 6
AUTOREGRESSIVE = Autoregressive(channels=4, layers=1, n_condition=N_CONDITION)


def has_autoregressive(domain: Domain) -> bool:
    return type(domain).autoregressive is not Domain.autoregressive


def _wanted(domain: Domain) -> Iterator[tuple[str, Wanted, Callable[[Tensor], tuple[Tensor, ...]]]]:
    """What families ask for: a name, the wish, and the arguments to call the network with for samples x ``(B, *S)``."""
    z = torch.randn(BATCH, N_CODE, generator=torch.Generator().manual_seed(2))
    label = torch.arange(BATCH) % 2
    yield "encoder", Encoder(), lambda x: (x,)
    yield "decoder", Decoder(N_CODE), lambda x: (z.to(x.device),)
    yield "decoder with classes", Decoder(N_CODE, n_classes=2), lambda x: (z.to(x.device), label.to(x.device))
    for norm in ("batch", "spectral", "none"):
        yield f"discriminator, norm {norm}", Discriminator(norm), lambda x: (x,)
    if has_autoregressive(domain):
        condition = torch.randn(BATCH, N_CONDITION, generator=torch.Generator().manual_seed(3))
        yield "autoregressive", AUTOREGRESSIVE, lambda x: (x, condition.to(x.device))


def _outputs(found: Any) -> list[Tensor]:
    return list(found) if isinstance(found, tuple) else [found]


def _shape(name: str, found: Any, wanted: tuple[int, ...]) -> None:
    expect(isinstance(found, Tensor), f"{name}: returns a {type(found).__name__}, not a tensor {wanted}.")
    expect(tuple(found.shape) == wanted, f"{name}: returns shape {tuple(found.shape)}, not {wanted}.")
    expect(found.dtype == torch.float32, f"{name}: returns {found.dtype} for float32, not float32.")


@rule("encoder", "synthetic")
def encoder(domain: Domain) -> None:
    """An encoder maps x (B, *S) to features (B, n_features)."""
    network = domain.network(Encoder())
    width = getattr(network, "n_features", None)
    expect(isinstance(width, int), f"encoder: n_features is {width!r}, and families size their heads by it: set it.")
    for n in (1, BATCH):
        _shape("encoder", network.eval()(examples(domain, n)), (n, width))  # type: ignore[arg-type]


@rule("decoder", "spec")
def decoder(domain: Domain) -> None:
    """A decoder maps a code (B, n_code), and a label (B,) where it has classes, to (B, *params_shape)."""
    shape = domain.spec.params_shape
    for n in (1, BATCH):
        z = torch.randn(n, N_CODE)
        _shape("decoder", domain.network(Decoder(N_CODE)).eval()(z), (n, *shape))
        label = torch.arange(n) % 2
        _shape("decoder with classes", domain.network(Decoder(N_CODE, 2)).eval()(z, label), (n, *shape))


@rule("decoder's label", "decoder")
def label(domain: Domain) -> None:
    """A decoder with classes makes something else of another label."""
    network = domain.network(Decoder(N_CODE, n_classes=2))
    # Conditional normalisation starts the same for every class, and a last layer may start at 0: a step of noise shows the wiring.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    z = torch.randn(BATCH, N_CODE)
    zero, one = (network.eval()(z, torch.full((BATCH,), k)) for k in (0, 1))
    expect(
        not torch.equal(zero, one),
        "decoder with classes: the label changes nothing, so no family could condition on it.",
    )


@rule("decoder's given part", "encoder", "decoder")
def given(domain: Domain) -> None:
    """A decoder asked for with given takes given (B, *S) beside the code, and it matters."""
    if not domain.spec.given:
        raise SkipTest("the spec names nothing that may be given, as configured")
    network = domain.network(Decoder(N_CODE, given=True)).eval()
    z, x = torch.randn(BATCH, N_CODE), examples(domain, BATCH) * domain.spec.given_mask()
    found = network(z, given=x)
    _shape("decoder with given", found, (BATCH, *domain.spec.params_shape))
    other = network(z, given=domain.spec.given_mask() * (1 - x))
    expect(not torch.equal(found, other), "decoder with given: what is given changes nothing.")


@rule("discriminator", "synthetic")
def discriminator(domain: Domain) -> None:
    """A discriminator maps x (B, *S) to (features (B, n_features), logit (B,)), with any norm."""
    for norm in ("batch", "spectral", "none"):
        network, name = domain.network(Discriminator(norm)), f"discriminator, norm {norm}"
        width = getattr(network, "n_features", None)
        expect(isinstance(width, int), f"{name}: n_features is {width!r}, and families size their heads by it: set it.")
        for n in (1, BATCH):
            found = network.eval()(examples(domain, n))
            expect(
                isinstance(found, tuple) and len(found) == 2,
                f"{name}: returns a {type(found).__name__}, not (features, logit): VAE/GAN and InfoGAN need the features.",
            )
            _shape(f"{name}: features", found[0], (n, width))  # type: ignore[arg-type]
            _shape(f"{name}: logit", found[1], (n,))


@rule("autoregressive", "synthetic")
def autoregressive(domain: Domain) -> None:
    """An autoregressive network maps x (B, *S) and a condition to (B, *params_shape); draw keeps given rows and draws the rest."""
    if not has_autoregressive(domain):
        raise SkipTest("the domain has no autoregressive networks")
    network, x = domain.network(AUTOREGRESSIVE).eval(), examples(domain, 2)
    condition = torch.randn(2, N_CONDITION)
    _shape("autoregressive", network(x, condition), (2, *domain.spec.params_shape))
    plain = domain.network(Autoregressive(channels=4, layers=1)).eval()
    _shape("autoregressive without condition", plain(x), (2, *domain.spec.params_shape))
    # Two rows are drawn: enough to see, and quick. Samples of other than three axes have no rows that may be given.
    kept = max(1, x.shape[2] - 2) if x.dim() == 4 else 0
    drawn = network.draw(x, domain.spec.likelihood, given=kept, condition=condition)  # type: ignore[operator]
    _shape("draw", drawn, tuple(x.shape))
    if kept:
        expect(torch.equal(drawn[:, :, :kept], x[:, :, :kept]), "draw changes the rows that are given.")
    why = support(domain.spec.likelihood, drawn)
    expect(not why, f"draw gives values outside the support of the likelihood {domain.spec.likelihood.name}: {why}.")


@rule("order of cells", "autoregressive")
def order(domain: Domain) -> None:
    """No parameter of an autoregressive network depends on its own cell, and of two cells at most one on the other."""
    if not has_autoregressive(domain):
        raise SkipTest("the domain has no autoregressive networks")
    network, x = domain.network(AUTOREGRESSIVE).eval(), examples(domain, 1)[0]
    cells = torch.randperm(x.numel())[:12]
    # Neighbours depend on each other first, and the cells of a small sample are all looked at.
    cells = torch.cat([cells, (cells + 1) % x.numel()]).unique()
    changed = x.flatten().repeat(len(cells) + 1, 1)  # (m + 1, prod S): one cell changed in each, the last as it was
    changed[torch.arange(len(cells)), cells] = 1 - changed[torch.arange(len(cells)), cells]
    with torch.no_grad():
        params = network(changed.view(-1, *x.shape), torch.zeros(len(changed), N_CONDITION))
    # (m, K, prod S): whether any parameter of a cell moved
    moved = (params[:-1] - params[-1]).abs().view(len(cells), -1, x.numel()).amax(1) > 1e-6
    depends = moved[:, cells]  # (m, m): [i, j] whether cell j's parameters depend on cell i
    expect(
        not bool(depends.diagonal().any()),
        "autoregressive: the parameters of a cell depend on that cell: its masks leak.",
    )
    both = depends & depends.T
    expect(
        not bool(both.any()), "autoregressive: two cells depend on each other, so there is no order to draw them in."
    )


@rule("gradients", "encoder", "decoder", "discriminator", "autoregressive")
def gradients(domain: Domain) -> None:
    """A gradient reaches every parameter of every network, and what a decoder and a discriminator are shown."""
    for name, wanted, arguments in _wanted(domain):
        network = domain.network(wanted).train()
        shown = [a.clone().requires_grad_() if a.is_floating_point() else a for a in arguments(examples(domain, BATCH))]
        found = _outputs(network(*shown))
        sum((t * torch.randn_like(t)).sum() for t in found).backward()  # type: ignore[union-attr]
        idle = [p for p, value in network.named_parameters() if value.requires_grad and value.grad is None]
        expect(not idle, f"{name}: no gradient reaches {', '.join(idle[:3])}: use it, or remove it.")
        if isinstance(wanted, (Decoder, Discriminator)):
            reached = shown[0].grad is not None and bool(shown[0].grad.abs().sum() > 0)
            expect(reached, f"{name}: no gradient reaches its input, so nothing before it could learn through it.")


@rule("examples apart", "encoder", "decoder", "discriminator", "autoregressive")
def apart(domain: Domain) -> None:
    """What a network makes of an example does not depend on the others: in evaluation, and in training without batch norm."""
    for name, wanted, arguments in _wanted(domain):
        network = domain.network(wanted)
        modes = {"evaluation": False}
        if wanted == Discriminator("none"):  # a gradient penalty is defined per example
            modes["training"] = True
        for mode, training in modes.items():
            network.train(training)
            shown = arguments(examples(domain, BATCH))
            with torch.no_grad():
                together, alone = _outputs(network(*shown)), _outputs(network(*(a[:2] for a in shown)))
            same = all(torch.allclose(t[:2], a, atol=1e-4, rtol=1e-3) for t, a in zip(together, alone, strict=True))
            expect(same, f"{name}: in {mode} an example's result depends on the others of its batch.")


@rule("weights", "encoder", "decoder", "discriminator", "autoregressive")
def weights(domain: Domain) -> None:
    """Weights follow from the seed, and those saved fit the networks that the same config builds again."""
    for name, wanted, _ in _wanted(domain):
        built: list[nn.Module] = []
        for _ in range(2):
            torch.manual_seed(0)
            built.append(type(domain)(domain.config).network(wanted))
        first, second = (network.state_dict() for network in built)
        expect(
            {k: v.shape for k, v in first.items()} == {k: v.shape for k, v in second.items()},
            f"{name}: built twice from one config, it has other weights: a checkpoint could not be loaded.",
        )
        expect(
            all(torch.equal(first[k], second[k]) for k in first),
            f"{name}: built twice from one seed, its weights differ: draw them with torch's own generator.",
        )


@rule("devices", "encoder", "decoder", "discriminator", "autoregressive")
def devices(domain: Domain) -> None:
    """Networks compute on whichever device they and their input are on."""
    # On the meta device nothing is computed, and mixing devices is an error as on a GPU: this works on any machine.
    device = torch.device("cuda" if torch.cuda.is_available() else "meta")
    for name, wanted, arguments in _wanted(domain):
        network, shown = domain.network(wanted), arguments(examples(domain, BATCH))
        try:
            network.to(device)(*(a.to(device) for a in shown))
        except RuntimeError as error:
            expect(
                "device" not in str(error) or ".item()" in str(error),
                f"{name}: moved to another device, it still computes on the CPU ({str(error).splitlines()[0]}): "
                "register tensors as buffers, and make new ones on the input's device.",
            )
            if device.type == "cuda":
                raise


RULES = [
    encoder,
    decoder,
    label,
    given,
    discriminator,
    autoregressive,
    order,
    gradients,
    apart,
    weights,
    devices,
]
