"""A convolution over few places is the same one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from echod.inference.echomimic.convolution import Convolution


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (1, 4), (2, 4)])
def test_equals_the_librarys(kernel: int, height: int, width: int) -> None:
    """At every number of places, few and more."""
    torch.manual_seed(0)
    ours, x = Convolution(6, 10, kernel, padding=kernel // 2), torch.randn(3, 6, height, width)
    theirs = F.conv2d(x, ours.weight, ours.bias, padding=kernel // 2)
    made = ours(x)
    assert made.shape == theirs.shape and made.is_contiguous()
    torch.testing.assert_close(made, theirs)
