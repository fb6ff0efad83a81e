"""torch and faiss, imported in this order and only here, so that both share one OpenMP runtime."""

import torch  # noqa: I001  first: faiss then uses the OpenMP settings that torch made
import faiss

__all__ = ["faiss", "torch"]
