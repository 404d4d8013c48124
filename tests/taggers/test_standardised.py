import numpy as np
import torch

from taggers.standardised import LEAST_DEVIATION, Standardised


def test_means_become_0_and_deviations_1_whatever_the_parts():
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(500, 6)) * [1, 10, 0.1, 3, 2, 5] + [0, 50, 1, -7, 0, 3]).astype(np.float16)
    whole, parted = Standardised(6), Standardised(6)
    whole.fit([vectors])
    parted.fit(np.split(vectors, [3, 3, 200]))
    torch.testing.assert_close(whole.state_dict(), parted.state_dict())
    brought = whole(torch.from_numpy(vectors)).numpy()
    assert brought.dtype == np.float32
    np.testing.assert_allclose(brought.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(brought.std(axis=0), 1, atol=1e-4)


def test_a_constant_unit_is_not_blown_up_and_nothing_changes_nothing():
    constant = Standardised(2)
    constant.fit([np.array([[3, 1], [3, 2]], np.float16)])
    brought = constant(torch.tensor([[3.0, 1.5], [3.001, 1.5]]))
    assert torch.isfinite(brought).all() and brought[:, 0].abs().max() < 0.2
    assert float(constant.deviation_F[0]) == np.float32(LEAST_DEVIATION)
    untouched = Standardised(2)
    untouched.fit([np.zeros((0, 2), np.float16)])
    vectors = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(untouched(vectors), vectors)
