"""Zero-cost scores: beside calculations by hand, slow twins of their definitions, and what must not change."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from proxies.complexity import count_macs, count_params
from proxies.device import find_device
from proxies.infeasible import InfeasibleError
from proxies.saliency import grad_norm, snip
from proxies.separation import jacob_cov, naswot
from proxies.synflow import synflow
from proxies.zen_score import STEP, zen_score
from proxies.zero_cost import SCORES, Probe, zero_cost_scores
from search_spaces import catalog
from search_spaces.architecture import Architecture, parse
from search_spaces.network import build

TINY = parse("stem8-er_r1_k3_s1_e1_c8-ir_r2_k3_s2_e4_c12_se0.25-ir_r1_k5_s2_e3_c16-head24@32")
WIDER = parse("stem8-er_r1_k3_s1_e1_c8-ir_r2_k3_s2_e6_c24_se0.25-ir_r1_k5_s2_e3_c16-head24@32")
DEVICE = find_device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def probe(seed: int = 0, *, num_images: int = 6, num_classes: int = 5) -> Probe:
    return Probe.of_noise(num_images=num_images, resolution=32, num_classes=num_classes, seed=seed, device=DEVICE)


def batch(count: int = 6, channels: int = 3, size: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, size, size, generator=seeded(seed))


def small_network(act: Callable[[], nn.Module] = nn.SiLU, *, norm: bool = True, seed: int = 0) -> nn.Sequential:
    """Convolution, norm, activation, convolution, activation, pooling, classifier."""
    with DEVICE.seeded(seed):
        return nn.Sequential(
            nn.Conv2d(3, 5, 3, bias=False),
            nn.BatchNorm2d(5) if norm else nn.Identity(),
            act(),
            nn.Conv2d(5, 4, 3, bias=False),
            act(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        )


class TestSynflow:
    def test_a_chain_by_hand(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.SiLU(), nn.Linear(2, 1))
        with torch.no_grad():
            network[1].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.5]]))
            network[3].weight.copy_(torch.tensor([[-4.0, 2.0]]))
        # R = 4 · (1 + 2) + 2 · (3 + 0.5) = 19, and each of the two layers carries all of it.
        assert synflow(network, torch.zeros(2, 1, 1, 2)) == pytest.approx(math.log(2 * 19))

    def test_each_layer_of_a_chain_carries_the_whole_flow(self) -> None:
        network = small_network(norm=False)
        kernels = [network[0].weight, network[3].weight]
        path = np.ones(3)
        for kernel in kernels:
            path = kernel.detach().abs().double().sum((2, 3)).numpy() @ path
        flow = network[7].weight.detach().abs().double().numpy().sum(0) @ path
        assert synflow(network, batch()) == pytest.approx(math.log(3 * flow))

    def test_scaling_between_blocks_changes_nothing(self) -> None:
        network = build(TINY, num_classes=5)
        expected = slow_synflow(build_like(network), 32)
        assert synflow(network, batch(size=32)) == pytest.approx(expected, rel=1e-10)

    def test_a_network_whose_flow_no_number_holds(self) -> None:
        deep = parse("-".join(["stem32", *["ir_r24_k3_s1_e6_c48"] * 7, "head320@32"]))
        score = synflow(build(deep, num_classes=5), batch(size=8))
        assert math.log(np.finfo(np.float64).max) < score < math.inf

    def test_a_dead_network_has_no_score(self) -> None:
        network = small_network()
        nn.init.zeros_(network[3].weight)
        assert synflow(network, batch()) == -math.inf

    def test_images_do_not_matter(self) -> None:
        assert synflow(small_network(), batch(seed=1)) == synflow(small_network(), 5 * batch(seed=2))

    @pytest.mark.parametrize("factor", [0.5, 3.0])
    def test_a_layer_scales_the_flow(self, factor: float) -> None:
        scaled = small_network()
        with torch.no_grad():
            scaled[3].weight.mul_(factor)
        assert synflow(scaled, batch()) == pytest.approx(synflow(small_network(), batch()) + math.log(factor))


def build_like(network: nn.Module) -> nn.Module:
    twin = build(TINY, num_classes=5)
    twin.load_state_dict(network.state_dict())
    return twin


def slow_synflow(network: nn.Module, size: int) -> float:
    """The definition without a logarithm on the way: ReLU in place of SiLU, gates that are 1."""
    network.double().eval()
    for block in network.modules():
        for name, child in block.named_children():
            if isinstance(child, nn.SiLU):
                setattr(block, name, nn.ReLU())
            if isinstance(child, nn.Sigmoid):
                child.register_forward_hook(lambda _module, _inputs, output: output * 0 + 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.abs())
    network(torch.ones(1, 3, size, size, dtype=torch.float64)).sum().backward()
    weights = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return math.log(
        sum(float((weight.detach() * weight.grad).abs().sum()) for weight in weights if weight.grad is not None)
    )


class TestSaliency:
    def test_of_one_linear_layer_by_hand(self) -> None:
        images, labels = batch(size=2), torch.tensor([0, 1, 2, 2, 1, 0])
        layer = nn.Linear(12, 3)
        weight, rows = layer.weight.detach().double().numpy(), images.flatten(1).double().numpy()
        logits = rows @ weight.T + layer.bias.detach().double().numpy()
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        gradient = (chances - np.eye(3)[labels.numpy()]).T @ rows / len(rows)
        network = nn.Sequential(nn.Flatten(), layer)
        assert grad_norm(network, images, labels) == pytest.approx(np.sqrt((gradient**2).sum()), rel=1e-5)
        assert snip(network, images, labels) == pytest.approx(np.abs(weight * gradient).sum(), rel=1e-5)

    def test_layers_are_summed(self) -> None:
        images, labels = batch(), torch.tensor([0, 1, 2, 2, 1, 0])
        twin = small_network()
        functional.cross_entropy(twin(images), labels).backward()
        weights = [twin[place].weight for place in (0, 3, 7)]
        norms = [float(weight.grad.pow(2).sum().sqrt()) for weight in weights if weight.grad is not None]
        products = [float((weight.detach() * weight.grad).abs().sum()) for weight in weights if weight.grad is not None]
        assert grad_norm(small_network(), images, labels) == pytest.approx(sum(norms), rel=1e-5)
        assert snip(small_network(), images, labels) == pytest.approx(sum(products), rel=1e-5)

    def test_snip_is_what_a_mask_would_change(self) -> None:
        images, labels = batch(), torch.tensor([0, 1, 2, 2, 1, 0])
        network = small_network().double()
        weight = network[3].weight.detach().clone()

        def loss(mask: Tensor) -> Tensor:
            return functional.cross_entropy(
                torch.func.functional_call(network, {"3.weight": weight * mask}, (images.double(),)), labels
            )

        by_mask = torch.autograd.functional.jacobian(loss, torch.ones_like(weight)).abs().sum()
        others = [network[place].weight for place in (0, 7)]
        gradients = torch.autograd.grad(functional.cross_entropy(network(images.double()), labels), others)
        rest = sum(
            float((theirs.detach() * gradient).abs().sum()) for theirs, gradient in zip(others, gradients, strict=True)
        )
        assert snip(network, images.double(), labels) == pytest.approx(float(by_mask) + rest)


class TestSeparation:
    def test_codes_counted_unit_by_unit(self) -> None:
        images = batch(4)
        expected = slow_naswot(small_network(), images)
        assert naswot(small_network(), images) == pytest.approx(expected)

    def test_silu_has_the_codes_of_relu_in_the_first_layer(self) -> None:
        def first_layer(act: nn.Module) -> nn.Module:
            with DEVICE.seeded(0):
                return nn.Sequential(nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9), act)

        assert naswot(first_layer(nn.SiLU()), batch()) == naswot(first_layer(nn.ReLU(inplace=True)), batch())

    def test_the_same_image_twice_cannot_be_told_apart(self) -> None:
        images = batch(4)
        images[3] = images[0]
        assert naswot(small_network(), images) == -math.inf

    def test_gates_are_no_units(self) -> None:
        images = batch(4, size=16)
        expected = slow_naswot(probe().network(TINY), images)
        assert naswot(probe().network(TINY), images) == pytest.approx(expected)

    def test_correlations_of_jacobians(self) -> None:
        network, images = small_network(), batch(5)
        twin = small_network()
        pixels = images.clone().requires_grad_()
        twin(pixels).sum().backward()
        assert pixels.grad is not None
        correlations = np.corrcoef(pixels.grad.flatten(1).double().numpy())
        values = np.linalg.eig(correlations)[0].real
        expected = -np.sum(np.log(values + 1e-5) + 1 / (values + 1e-5))
        assert jacob_cov(network, images) == pytest.approx(expected, rel=1e-4)

    def test_independent_jacobians_are_best(self) -> None:
        """Of N images, whose eigenvalues sum to N, none does better than with N times 1."""
        assert jacob_cov(small_network(), batch(5)) < -5 * (math.log(1 + 1e-5) + 1 / (1 + 1e-5))

    def test_a_linear_network_sees_all_images_alike(self) -> None:
        network = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
        # One eigenvalue of N, the others 0, each of which costs 1 / k.
        assert jacob_cov(network, batch(5)) == pytest.approx(-4e5, rel=1e-3)

    def test_images_stay_as_they_are(self) -> None:
        images = batch()
        before = images.clone()
        jacob_cov(small_network(lambda: nn.SiLU(inplace=True)), images)
        assert torch.equal(images, before)
        assert not images.requires_grad


def slow_naswot(network: nn.Module, images: Tensor) -> float:
    """Each unit's state compared with itself on every other image, one by one."""
    inputs: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.SiLU):
            module.register_forward_pre_hook(lambda _module, given: inputs.append(given[0].detach().clone()))
    network(images)
    codes = [[unit > 0 for each in inputs for unit in each[image].flatten().tolist()] for image in range(len(images))]
    kernel = [[sum(one == other for one, other in zip(a, b, strict=True)) for b in codes] for a in codes]
    return float(np.linalg.slogdet(np.array(kernel, dtype=float))[1])


class Features(nn.Module):
    """A network with features before pooling, as timm's have them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward_features(self, images: Tensor) -> Tensor:
        return self.layers(images)  # type: ignore[no-any-return]


class TestZenScore:
    def test_by_its_definition(self) -> None:
        """Convolution, norm, SiLU, convolution, norm, in plain tensor algebra."""
        images, rng = batch(4), seeded(3)
        first, second = torch.randn(5, 3, 3, 3, generator=rng), torch.randn(4, 5, 1, 1, generator=rng)
        inputs, noise = torch.randn(images.shape, generator=rng), torch.randn(images.shape, generator=rng)

        def standardised(maps: Tensor) -> tuple[Tensor, float]:
            mean, variance = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), correction=0, keepdim=True)
            return (maps - mean) / (variance + 1e-5).sqrt(), float(variance.mean().sqrt())

        def features(x: Tensor) -> tuple[Tensor, float, float]:
            hidden, sigma = standardised(functional.conv2d(x, first))
            found, other = standardised(functional.conv2d(hidden * hidden.sigmoid(), second))
            return found, sigma, other

        before, *sigmas = features(inputs)
        delta = (before - features(inputs + 0.01 * noise)[0]).pow(2).sum((1, 2, 3)).sqrt().mean()
        expected = math.log(float(delta)) + sum(map(math.log, sigmas))
        network = Features(
            nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.SiLU(), nn.Conv2d(5, 4, 1, bias=False), nn.BatchNorm2d(4)
        )
        assert zen_score(network, images, seeded(3)) == pytest.approx(expected, rel=1e-4)

    def test_norms_are_paid_back(self) -> None:
        """What one batch norm of one channel divides by is added again: the score is that without it."""
        images = batch(8)
        plain = zen_score(Features(nn.Conv2d(3, 1, 3)), images, seeded(0))
        normed = zen_score(Features(nn.Conv2d(3, 1, 3), nn.BatchNorm2d(1)), images, seeded(0))
        assert normed == pytest.approx(plain, abs=0.02)

    def test_a_linear_map_by_hand(self) -> None:
        """A single weight w: |w| α E‖ε‖, whatever x is."""
        rng = seeded(5)
        weight = float(torch.randn(1, 1, 1, 1, generator=rng))
        torch.randn(3, 1, 8, 8, generator=rng)
        norm = float(torch.randn(3, 1, 8, 8, generator=rng).flatten(1).norm(dim=1).mean())
        found = zen_score(Features(nn.Conv2d(1, 1, 1)), torch.zeros(3, 1, 8, 8), seeded(5))
        assert found == pytest.approx(math.log(abs(weight) * STEP * norm), rel=1e-3)

    def test_only_the_size_of_images_matters(self) -> None:
        score = SCORES["zen"]
        one, other = probe(), probe()
        other.images.mul_(7.0)
        assert score(TINY, one) == score(TINY, other)

    def test_residual_links_are_removed(self) -> None:
        plain = [build(parse(str(TINY).replace("_se0.25", "")), num_classes=5) for _ in range(2)]
        linked = [block for stage in plain[0].blocks for block in stage if block.has_skip]  # type: ignore[union-attr]
        assert len(linked) == 2
        for block in linked:
            block.has_skip = False
        without, removed = (zen_score(network, batch(size=32), seeded(0)) for network in plain)
        assert removed == without

    def test_gates_are_open(self) -> None:
        network, maps = build(TINY, num_classes=5), batch(channels=32)
        gated = network.blocks[1][0].se  # type: ignore[union-attr,index]
        assert not torch.equal(gated(maps), maps)
        zen_score(network, batch(size=32), seeded(0))
        assert torch.equal(gated(maps), maps)


class TestTable:
    def test_more_of_everything_scores_higher(self) -> None:
        small, large = (zero_cost_scores(each, probe()) for each in (TINY, WIDER))
        assert {name: small[name] < large[name] for name in ("params", "macs", "synflow", "zen")} == dict.fromkeys(
            ("params", "macs", "synflow", "zen"), True
        )

    def test_baselines_are_the_closed_forms(self) -> None:
        architecture = catalog.get("efficientnetv2-s").architecture
        found = zero_cost_scores(architecture, probe(num_classes=1000), ["params", "macs"])
        assert found == {"params": count_params(architecture), "macs": count_macs(architecture)}
        assert found == {"params": 21_458_488, "macs": 5_307_561_248}

    @pytest.mark.parametrize("name", SCORES)
    def test_a_seed_gives_a_score(self, name: str) -> None:
        once, again, otherwise = (SCORES[name](TINY, probe(seed)) for seed in (0, 0, 1))
        assert once == again
        assert math.isfinite(once)
        assert (once == otherwise) == (name in ("params", "macs"))

    @pytest.mark.parametrize("name", SCORES)
    def test_nothing_is_left_changed(self, name: str) -> None:
        given = probe()
        images, labels = given.images.clone(), given.labels.clone()
        state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]
        zero_cost_scores(TINY, given, [name])
        assert torch.equal(torch.get_rng_state(), state)
        assert np.array_equal(np.random.get_state()[1], numpy_state)
        assert torch.is_grad_enabled()
        assert torch.equal(given.images, images)
        assert torch.equal(given.labels, labels)

    def test_scores_do_not_depend_on_each_other(self) -> None:
        together = zero_cost_scores(TINY, probe())
        assert together == {name: zero_cost_scores(TINY, probe(), [name])[name] for name in reversed(list(SCORES))}
        with pytest.raises(TypeError):
            together["snip"] = 0.0  # type: ignore[index]

    def test_no_number_is_infeasible(self) -> None:
        twice = Probe(
            images=batch(1, size=32).repeat(4, 1, 1, 1), labels=torch.zeros(4, dtype=torch.int64), num_classes=5,
            seed=0, device=DEVICE,
        )  # fmt: skip
        with pytest.raises(InfeasibleError, match="score naswot must be finite, got -inf"):
            zero_cost_scores(TINY, twice, ["naswot"])

    def test_rules(self) -> None:
        with pytest.raises(ValueError, match="unknown score 'zenn'"):
            zero_cost_scores(TINY, probe(), ["zenn"])
        with pytest.raises(ValueError, match="at least 2, got \\(1, 3, 32, 32\\)"):
            probe(num_images=1)
        with pytest.raises(ValueError, match="labels must be one for each image"):
            Probe(images=batch(), labels=torch.zeros(2), num_classes=5, seed=0, device=DEVICE)

    def test_a_network_of_the_probe(self) -> None:
        network = probe().network(TINY)
        assert sum(parameter.numel() for parameter in network.parameters()) == count_params(TINY, num_classes=5)
        assert _state(TINY, 0) == _state(TINY, 0) != _state(TINY, 1)


def _state(architecture: Architecture, seed: int) -> list[float]:
    return probe(seed).network(architecture).conv_stem.weight.flatten().tolist()  # type: ignore[union-attr,operator,no-any-return]


@pytest.mark.gpu
@pytest.mark.parametrize("name", SCORES)
def test_a_gpu_scores_as_the_cpu_does(name: str) -> None:
    on_gpu = Probe.of_noise(num_images=6, resolution=32, num_classes=5, seed=0, device=find_device("cuda"))
    tolerance = 0.05 if name in ("naswot", "jacob_cov") else 1e-2
    assert SCORES[name](TINY, on_gpu) == pytest.approx(SCORES[name](TINY, probe()), rel=tolerance)
