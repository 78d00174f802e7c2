"""The losses, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainers.entropy import EntropyConfig
from trainers.losses import (
    Clip,
    calibration,
    divergence,
    explained_variance,
    geometric_clip,
    ppo_clip,
    sequence_clip,
    value_loss,
)


def clip(ratio: float, advantage: float) -> tuple[float, float, float]:
    """Loss, its gradient with respect to log pi, and whether the clip took hold (0.8 to 1.3)."""
    logp = torch.tensor([math.log(ratio) - 1], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([-1.0], dtype=torch.float64)
    clipped = ppo_clip(logp, old, torch.tensor([advantage], dtype=torch.float64), torch.ones(1), Clip(0.2, 0.3))
    clipped.loss.backward()  # type: ignore[no-untyped-call]
    assert logp.grad is not None
    assert float(clipped.ratio) == pytest.approx(ratio)
    return clipped.loss.item(), float(logp.grad), float(clipped.clipped)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clipped"),
    [
        (1.0, 2.0, -2.0, -2.0, 0),
        (1.2, 2.0, -2.4, -2.4, 0),
        (1.5, 2.0, -2.6, 0.0, 1),  # already more likely than the clip allows to want
        (0.5, 2.0, -1.0, -1.0, 0),  # too unlikely: may be made likelier
        (0.5, -2.0, 1.6, 0.0, 1),  # already less likely than the clip allows to want
        (1.5, -2.0, 3.0, 3.0, 0),  # too likely: may be made less so
        (1.0, 0.0, 0.0, 0.0, 0),
        (9.0, 0.0, 0.0, 0.0, 0),
    ],
)
def test_the_clip_case_by_case(ratio: float, advantage: float, loss: float, gradient: float, clipped: float) -> None:
    assert clip(ratio, advantage) == pytest.approx((loss, gradient, clipped), abs=1e-12)


@given(st.lists(st.tuples(st.floats(-2, 0), st.floats(-2, 0), st.floats(-3, 3)), min_size=1, max_size=6))
def test_the_clip_is_the_sum_over_tokens_of_its_definition(tokens: list[tuple[float, float, float]]) -> None:
    logp, old, advantage = (torch.tensor(column, dtype=torch.float64) for column in zip(*tokens, strict=True))
    expected = 0.0
    for new, before, a in tokens:
        rho = math.exp(new - before)
        expected -= min(rho * a, min(max(rho, 0.9), 1.4) * a)
    assert float(ppo_clip(logp, old, advantage, torch.ones_like(logp), Clip(0.1, 0.4)).loss) == pytest.approx(
        expected, abs=1e-9
    )


def test_the_value_loss_is_half_the_summed_square_and_its_targets_are_constants() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    targets = torch.tensor([0.0, 5.0], requires_grad=True)
    loss = value_loss(values, targets)
    assert loss.item() == 5.0
    loss.backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert values.grad.tolist() == [1.0, -3.0]
    assert targets.grad is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0], 1.0),
        ([2.0, 2.0, 2.0], 0.0),
        ([11.0, 12.0, 13.0], 1.0),  # a constant error is not a matter of variance
        ([3.0, 2.0, 1.0], -3.0),
        ([1.5, 2.0, 2.5], 0.75),
    ],
)
def test_explained_variance(values: list[float], expected: float) -> None:
    assert explained_variance(torch.tensor(values), torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(expected)


def test_where_targets_do_not_vary_there_is_nothing_to_explain() -> None:
    assert explained_variance(torch.tensor([1.0, 9.0]), torch.tensor([2.0, 2.0])) == 0.0


def test_the_entropy_weight_grows_as_a_choice_settles() -> None:
    most = torch.tensor([2.0, 1.0, 3.0])
    weights = EntropyConfig(random=0.1, settled=0.3).weight(torch.tensor([2.0, 0.5, 0.0]), most)
    torch.testing.assert_close(weights, torch.tensor([0.1, 0.2, 0.3]))
    fixed = EntropyConfig(random=0.2, settled=0.2, halving=10)
    assert fixed.weight(most / 3, most).tolist() == pytest.approx([0.2] * 3)
    assert fixed.weight(most / 3, most, 20).tolist() == pytest.approx([0.05] * 3)


@pytest.mark.parametrize("seed", range(3))
def test_divergence_has_the_value_and_the_gradient_of_the_exact_one_also_off_policy(seed: int) -> None:
    """In expectation over what an older policy drew (pitfall 18: plain k3 has another gradient there)."""
    draws = torch.Generator().manual_seed(seed)
    logits, older, reference = (torch.randn(5, generator=draws, dtype=torch.float64) for _ in range(3))
    logits.requires_grad_()
    logp, old, ref = logits.log_softmax(0), older.log_softmax(0), reference.log_softmax(0)
    exact = (logp.exp() * (logp - ref)).sum()
    (gradient,) = torch.autograd.grad(exact, logits, retain_graph=True)
    expected = (old.exp() * divergence(logp, ref, old)).sum()
    (got,) = torch.autograd.grad(expected, logits)
    assert float(expected.detach()) == pytest.approx(float(exact.detach()))
    torch.testing.assert_close(got, gradient)


def ratios() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two replies of three tokens and one: old and new log-probabilities, advantages, and which reply."""
    old = torch.tensor([-1.0, -2.0, -0.5, -1.0], dtype=torch.float64)
    new = (old + torch.tensor([0.3, -0.1, 0.6, -0.9], dtype=torch.float64)).requires_grad_()
    return new, old, torch.tensor([2.0, 2.0, 2.0, -3.0], dtype=torch.float64), torch.tensor([7, 7, 7, 9])


def test_one_ratio_for_a_reply_is_the_geometric_mean_of_its_tokens() -> None:
    new, old, advantage, reply = ratios()
    clipped = sequence_clip(new, old, advantage, torch.full((4,), 0.25), Clip(0.2, 0.2), reply)
    s = math.exp((0.3 - 0.1 + 0.6) / 3)
    assert clipped.ratio.tolist() == pytest.approx([s] * 3 + [math.exp(-0.9)])
    expected = 3 * min(s * 2, 1.2 * 2) + min(math.exp(-0.9) * -3, 0.8 * -3)
    assert float(clipped.loss.detach()) == pytest.approx(-0.25 * expected)
    assert int(clipped.clipped) == 4


def test_the_geometric_mean_of_clipped_ratios() -> None:
    new, old, advantage, reply = ratios()
    clipped = geometric_clip(new, old, advantage, torch.full((4,), 0.25), Clip(0.2, 0.2), reply)
    first = math.exp((min(0.3, math.log(1.2)) - 0.1 + min(0.6, math.log(1.2))) / 3)
    expected = 3 * 2 * first - 3 * math.exp(max(-0.9, math.log(0.8)))
    assert float(clipped.loss.detach()) == pytest.approx(-0.25 * expected)
    (gradient,) = torch.autograd.grad(clipped.loss, new)
    assert gradient[0] == gradient[2] == gradient[3] == 0, "clipped tokens do not pull"
    assert gradient[1] != 0


def test_a_dual_clip_bounds_what_bad_replies_cost() -> None:
    new, old, weight = torch.tensor([2.0, 2.0]), torch.tensor([0.0, 0.0]), torch.ones(2)
    advantage = torch.tensor([-1.0, 1.0])
    free = ppo_clip(new, old, advantage, weight, Clip(0.2, 0.2)).loss
    bound = ppo_clip(new, old, advantage, weight, Clip(0.2, 0.2, 3.0)).loss
    assert float(free) == pytest.approx(math.exp(2) - 1.2)
    assert float(bound) == pytest.approx(3 - 1.2)


@pytest.mark.parametrize(
    ("values", "targets", "slope"),
    [([1.0, 2.0], [1.0, 2.0], 1.0), ([2.0, 4.0], [1.0, 2.0], 0.5), ([1.0, 1.0], [0.0, 5.0], 0.0)],
)
def test_calibration_is_the_slope_of_targets_over_values(
    values: list[float], targets: list[float], slope: float
) -> None:
    assert calibration(torch.tensor(values), torch.tensor(targets)) == pytest.approx(slope)
