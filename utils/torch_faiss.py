"""Imports torch and faiss in this order, and is the only module that imports faiss, so that both
share one OpenMP runtime."""

import torch  # noqa: I001  torch before faiss, which then uses torch's OpenMP settings
import faiss

__all__ = ["faiss", "torch"]
