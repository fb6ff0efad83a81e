"""Products of a sparse graph with a few columns, which give the same bytes each time.

On a GPU torch's own product adds the terms of a row in no fixed order.  There, a row's terms are
summed as those of a bag of embeddings (torch.nn.functional.embedding_bag), in the row's order.
"""

import torch
import torch.nn.functional as F


def sparse_product(W: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """W times columns.  W: (N, M) torch CSR; columns: (M, C) or (M,) -> (N, C) or (N,)."""
    if not W.is_cuda:
        return W @ columns
    return sum_bags(W, columns.reshape(len(columns), -1)).reshape(-1, *columns.shape[1:])


def subtract_product(W: torch.Tensor, columns: torch.Tensor, factor: float) -> torch.Tensor:
    """columns − factor · W times columns.  W: (N, N) torch CSR; columns: (N, C) -> (N, C)."""
    if W.is_cuda:
        return torch.sub(columns, sum_bags(W, columns), alpha=factor)
    return torch.addmm(columns, W, columns, alpha=-factor)


def sum_bags(W: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """W times columns, as the weighted sums of a bag of rows of `columns` per row of W."""
    return F.embedding_bag(
        W.col_indices(),
        columns,
        W.crow_indices(),
        mode="sum",
        per_sample_weights=W.values(),
        include_last_offset=True,
    )
