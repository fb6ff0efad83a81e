"""Imports torch and faiss in this order, and is the only module that imports faiss, so that both
share one OpenMP runtime."""

import functools  # noqa: I001  torch before faiss, which then uses torch's OpenMP settings
import importlib
from typing import Any

import torch
import faiss

__all__ = ["faiss", "gpu_resources", "torch"]


@functools.cache
def gpu_resources(device: int) -> Any:
    """faiss.StandardGpuResources (streams and scratch memory) of a GPU, created once per process.

    The memory, by default up to 1.5 GiB, is kept until the process ends.  From then on faiss
    accepts torch tensors.  Never run on a GPU: only faiss-cpu was at hand there."""
    importlib.import_module("faiss.contrib.torch_utils")
    return faiss.StandardGpuResources()
