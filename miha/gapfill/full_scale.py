"""A Gaussian process of many visible pixels, at a cost that grows linearly in pixels: a full-scale approximation.

The terms of the kernel that reach far go through a few inducing pixels; what these leave, and all of the short terms,
through the nearest visible pixels of each pixel (Vecchia's approximation). The sum is due to Sang and Huang (2012,
J. R. Stat. Soc. B 74, 111-132); with nearest neighbours for its second part, to Gyger, Furrer and Sigrist (2025, arXiv
2507.05064). Inducing pixels far apart tell nothing of short terms, which would take components from the others.
Of what the inducing pixels tell only the leading principal components are kept, and pixels that are asked about share
neighbours with those beside them, since nearly all of the time goes into what is multiplied for each pixel.
"""

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from miha.gapfill.kernel import Kernel, Pixels, covariance, variance
from miha.gapfill.neighbours import earlier_neighbours

NEIGHBOURS = 16  # visible pixels
COMPONENTS = 200  # of what the inducing pixels tell
JITTER = 1e-3  # of visible pixels, so that their covariance can be inverted in float32
BLOCK = 4.0  # pixels a side that share neighbours
CHUNK = 256  # pixels that are looked at together: so few that what is computed of them stays in the processor's cache


class FullScale:
    """The process, given the visible pixels of one scene in random order.

    Args:
        kernel: of the values.
        visible: (n), in random order: the first of them induce.
        values: (n,), in deviations of the scene.
        inducing: how many do.

    Attributes:
        off: errors of visible pixels that do not induce, each predicted from those before it, over the deviations that
            the kernel says.
    """

    def __init__(self, kernel: Kernel, visible: Pixels, values: Tensor, inducing: int) -> None:
        self.kernel, self.visible = kernel, visible
        self.inducing = visible[slice(inducing)]
        sizes, axes = torch.linalg.eigh(covariance(kernel, self.inducing, self.inducing, far=True).double())
        self.whitening = (axes / (sizes.clamp(min=0) + JITTER).sqrt())[:, -COMPONENTS:].float()
        everything = torch.arange(len(values)).split(CHUNK)
        self.projected = torch.cat([self._project(visible[chunk]) for chunk in everything])
        positions = visible.positions.numpy()
        neighbours = torch.from_numpy(earlier_neighbours(positions, NEIGHBOURS))
        precision = torch.eye(self.projected.shape[1], dtype=torch.float64)
        moments = torch.zeros(len(precision), dtype=torch.float64)
        left_over = []
        for chunk in everything:
            near = neighbours[chunk]
            weights, left, rest = self._condition(visible[chunk].single(), self.projected[chunk][:, None], near)
            whitened, noise = rest[:, 0].double(), left[:, 0].double() + kernel.noise
            innovations = values[chunk] - (weights[:, 0].double() * values[near.clamp(min=0)]).sum(1)
            weighed = whitened / noise[:, None]
            precision += whitened.T @ weighed
            moments += innovations @ weighed
            left_over.append((innovations, rest[:, 0], noise))
        root = torch.linalg.cholesky(precision)
        coefficients = torch.cholesky_solve(moments[:, None], root)[:, 0]
        self.residuals = (values - self.projected.double() @ coefficients).float()
        self.coefficients = coefficients.float()
        innovations, rest, noise = (torch.cat(parts) for parts in zip(*left_over, strict=True))
        self.off = ((innovations - rest.double() @ coefficients) / noise.sqrt())[inducing:]
        unit = torch.eye(len(root), dtype=torch.float64)
        self.unsure = torch.linalg.solve_triangular(root, unit, upper=False).T.float()
        self.tree = scipy.spatial.cKDTree(positions)

    def at(self, asked: Pixels) -> tuple[Tensor, Tensor]:
        """Mean and variance, noise included, of pixels that are not visible, in deviations of the scene."""
        blocks, counts, centres = _blocks(asked.positions.numpy())
        count = min(NEIGHBOURS, len(self.visible.positions))
        neighbours = torch.from_numpy(self.tree.query(centres, count)[1].reshape(-1, count))
        mean, variances = torch.empty(2, len(asked.positions), dtype=torch.float64)
        for chunk in torch.arange(len(blocks)).split(max(1, int(CHUNK / BLOCK**2))):
            near, members = neighbours[chunk], blocks[chunk, : counts[chunk[-1]]]
            pixels = asked[members]
            projected = self._project(pixels)
            weights, left, rest = self._condition(pixels, projected, near)
            expected = projected @ self.coefficients + (weights @ self.residuals[near][..., None])[..., 0]
            mean[members] = expected.double()
            variances[members] = (left + ((rest @ self.unsure) ** 2).sum(-1) + self.kernel.noise).double()
        return mean, variances

    def _project(self, pixels: Pixels) -> Tensor:
        """Pixels (…, n) as seen through the inducing ones, (…, n, COMPONENTS): products are what reaches far."""
        projected: Tensor = covariance(self.kernel, pixels, self.inducing, far=True) @ self.whitening
        return projected

    def _condition(self, pixels: Pixels, projected: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How what the inducing pixels leave of pixels follows from visible neighbours.

        Args:
            pixels: sets of n that share neighbours.
            projected: (sets, n, COMPONENTS).
            neighbours: (sets, k) numbers of visible pixels; -1: none.

        Returns:
            Weights of the neighbours (sets, n, k), the variance (sets, n) that they leave, and what they leave of
            ``projected``.
        """
        there = neighbours >= 0
        near = neighbours.clamp(min=0)
        others, through = self.visible[near], self.projected[near]
        between = covariance(self.kernel, others, others) - through @ through.mT
        noise = torch.where(there, self.kernel.noise + JITTER, 1.0)
        root = torch.linalg.cholesky(between * (there[:, :, None] & there[:, None, :]) + torch.diag_embed(noise))
        towards = (covariance(self.kernel, pixels, others) - projected @ through.mT) * there[:, None]
        weights = torch.cholesky_solve(towards.mT, root).mT
        left = variance(self.kernel, pixels) - (projected**2).sum(-1) - (weights * towards).sum(-1)
        return weights, left.clamp(min=1e-4), projected - weights @ through


def _blocks(positions: NDArray[np.float32]) -> tuple[Tensor, NDArray[np.int64], NDArray[np.float64]]:
    """Places (n, 2) by squares of BLOCK a side, which do not depend on what else is asked.

    Returns:
        Numbers of the places in each (blocks, most in one), one of them again where there are fewer; how many there
        are, in rising order; and the middles of the blocks (blocks, 2).
    """
    cells, block, counts = np.unique(np.floor(positions / BLOCK), axis=0, return_inverse=True, return_counts=True)
    order, first = np.argsort(block.ravel(), kind="stable"), np.cumsum(counts) - counts
    rising = np.argsort(counts, kind="stable")
    inside = np.minimum(np.arange(counts.max(initial=0)), counts[rising, None] - 1)
    middles = (cells[rising].astype(np.float64) + 0.5) * BLOCK - 0.5
    return torch.from_numpy(order[first[rising, None] + inside]), counts[rising], middles
