"""torch and faiss, imported in this order and only here, so that both share one OpenMP runtime."""

import functools  # noqa: I001  torch before faiss, which then uses torch's OpenMP settings
import importlib

import torch
import faiss

__all__ = ["faiss", "gpu_resources", "torch"]


@functools.cache
def gpu_resources(device: int):
    """faiss's streams and scratch memory on the GPU of this number, made once a process and not at
    every search; the memory, faiss's default of up to 1.5 GiB, is kept to the process's end.

    faiss takes torch tensors from then on.  Never run on a GPU."""
    importlib.import_module("faiss.contrib.torch_utils")
    return faiss.StandardGpuResources()
