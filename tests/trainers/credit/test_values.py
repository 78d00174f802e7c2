"""The critic's scale, and the alarm for one that has died."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.credit.values import DEAD_AFTER, Alarm, Scale


@given(st.lists(st.lists(st.floats(-100, 100), min_size=2, max_size=8), min_size=1, max_size=6))
def test_outputs_stand_for_values_and_back(updates: list[list[float]]) -> None:
    scale = Scale(on=True)
    for update in updates:
        scale.observe(torch.tensor(update, dtype=torch.float64))
    targets = torch.tensor(updates[-1], dtype=torch.float64)
    back = scale.values(scale.outputs(targets).numpy(), np.ones(len(targets), bool))
    assert back == pytest.approx(targets.numpy(), abs=1e-6)


def test_one_update_gives_its_own_mean_and_deviation() -> None:
    scale = Scale(on=True)
    assert (scale.mean, scale.deviation) == (0.0, 1.0), "before anything was seen outputs are values"
    scale.observe(torch.tensor([1.0, 5.0]))
    assert [scale.mean, scale.deviation] == pytest.approx([3.0, 2.0])
    for _ in range(2000):
        scale.observe(torch.tensor([10.0, 10.0]))
    assert scale.mean == pytest.approx(10.0)
    assert scale.deviation == pytest.approx(0.01), "targets that never differ do not blow up the loss"


def test_switched_off_it_does_nothing() -> None:
    scale = Scale(on=False)
    scale.observe(torch.tensor([5.0, 9.0]))
    assert scale.outputs(torch.tensor([2.0])).tolist() == [2.0]
    assert scale.values(np.array([2.0]), np.array([True])).tolist() == [2.0]


def test_where_there_is_no_value_there_is_none_after_scaling() -> None:
    scale = Scale(on=True)
    scale.observe(torch.tensor([1.0, 5.0]))
    assert scale.values(np.array([0.0, 0.0]), np.array([True, False])).tolist() == [pytest.approx(3.0), 0.0]


def test_the_alarm_counts_updates_in_a_row() -> None:
    alarm = Alarm()
    assert not any(alarm.observe(0.0) for _ in range(DEAD_AFTER - 1))
    assert alarm.observe(-0.1)
    assert not alarm.observe(0.2)
    assert not any(alarm.observe(0.0) for _ in range(DEAD_AFTER - 1))
