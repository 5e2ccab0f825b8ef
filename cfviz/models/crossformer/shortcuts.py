"""Decide when a faster computation or a cached tensor may replace calling the modules.

PyTorch has many observers: hooks, tracers, exporters, compilers, function transforms. They see only ordinary
calls, so shortcuts are reserved for tensors and modules that nobody observes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from cfviz.deferred import after_import

R = TypeVar("R")


def observed() -> bool:
    """Whether operations are being recorded or transformed by a compiler, `vmap` or a dispatch mode."""
    return (
        torch.compiler.is_compiling()  # first, so that the compiler itself reads no further
        or torch._C._is_tracing()  # torch.jit
        or transformed()
        or torch._C._len_torch_dispatch_stack() > 0
    )


def transformed() -> bool:
    """Whether `vmap`, `grad` or another `torch.func` transform is active."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def recorded(x: torch.Tensor) -> bool:
    """Whether operations on `x`, perhaps an FX proxy or a fake tensor, are recorded or transformed."""
    return (
        observed()
        or type(x) is not torch.Tensor
        or x.is_meta
        or (x.is_cuda and torch.cuda.is_current_stream_capturing())
    )


def bare(*modules: nn.Module) -> bool:
    """Whether these modules have no hooks or patches, so that their weights alone determine their outputs."""
    for m in modules:
        if (
            m._forward_hooks
            or m._forward_pre_hooks
            or m._backward_hooks
            or m._backward_pre_hooks
            or "forward" in m.__dict__
        ):
            return False
    return not _has_any_global_hook()


def constant(make: Callable[..., R]) -> Callable[..., R]:
    """Cache the tensors that a function computes from geometry and device, for all models in the process.

    Under an observer, nothing is cached: tensors made during an export are fake and would outlive it.
    """
    remembered = lru_cache(maxsize=64)(make)
    after_import("torch._dynamo", lambda: torch.compiler.assume_constant_result(make))

    @wraps(make)
    def get(*args: Any) -> R:
        if observed():
            return make(*args)
        with torch.inference_mode(False):
            return remembered(*args)

    return get
