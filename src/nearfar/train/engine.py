"""Devices, processes, precision: the only file that knows Lightning Fabric."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException
from torch.optim import Optimizer

from nearfar import errors
from nearfar.config import TrainConfig
from nearfar.encoders.group_batchnorm import GroupBatchNorm
from nearfar.errors import ConfigError, NearfarError
from nearfar.methods.base import Batch, Method, Output, Projections


def launch(config: TrainConfig, function: Callable[..., None], *args: Any) -> None:
    """Call `function(engine, *args)` in one process a device: here, in spawned ones, or in those of a launcher.

    Under torchrun or SLURM the processes exist already and this one joins them. Spawned processes get
    pickled arguments; their errors come back as the nearfar error they were.
    """
    attached = any(e.detect() for e in (TorchElasticEnvironment, SLURMEnvironment))
    devices, nodes = _launched(config) if attached else (config.devices, config.nodes)
    if nodes > 1 and not attached:
        raise ConfigError("several nodes need a launcher", where="train.nodes", found=nodes, fix="Start with torchrun.")
    several = devices * nodes > 1
    strategy = _strategy(config, "popen" if attached else "spawn") if several else "auto"
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            precision=config.precision,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"the devices cannot be used: {error}", where="train.accelerator, train.devices") from error
    if several and not attached:
        _spawn(fabric, function, config, args)
    else:
        fabric.launch()
        function(Engine(fabric, config), *args)


def _strategy(config: TrainConfig, start: Literal["popen", "spawn"]) -> DDPStrategy:
    # What a stage frees may have no part in its losses; a run without stages has no such parameters to look for.
    return DDPStrategy(start_method=start, find_unused_parameters=bool(config.stages))


def _launched(config: TrainConfig) -> tuple[int, int]:
    local = int(os.environ.get("LOCAL_WORLD_SIZE", config.devices))
    return local, int(os.environ.get("WORLD_SIZE", local * config.nodes)) // local


def _spawn(fabric: Fabric, function: Callable[..., None], config: TrainConfig, args: tuple[Any, ...]) -> None:
    with _signals_to_children():
        try:
            # As bytes: torch would put a module's tensors in memory that all ranks share, and train the same copy.
            fabric.launch(partial(_spawned, payload=pickle.dumps((function, config, args))))
        except ProcessExitedException as error:
            if error.exit_code in (128 + signal.SIGTERM, 128 + signal.SIGINT):
                raise SystemExit(error.exit_code) from None
            raise NearfarError(f"a training process died with exit code {error.exit_code}") from error
        except ProcessRaisedException as error:
            raise _original(str(error)) from error


def _spawned(fabric: Fabric, payload: bytes) -> None:
    function, config, args = pickle.loads(payload)
    try:
        function(Engine(fabric, config), *args)
    except KeyboardInterrupt:
        # torch's launcher would take it for a quiet end.
        raise SystemExit(128 + signal.SIGINT) from None


def _original(text: str) -> NearfarError:
    """The error of a spawned process, from the last line of the traceback that torch hands over."""
    last = text.strip().splitlines()[-1]
    kind, _, message = last.partition(": ")
    found = getattr(errors, kind.rpartition(".")[2], NearfarError)
    return found(message) if kind.startswith("nearfar.errors.") else NearfarError(f"a training process failed: {last}")


def _check_group_norms(method: nn.Module, config: TrainConfig) -> None:
    """Refuse what would silently change the statistics of groups."""
    key = "sync_batchnorm" if config.sync_batchnorm else "grad_cache"
    if getattr(config, key) and any(isinstance(module, GroupBatchNorm) for module in method.modules()):
        raise ConfigError(
            "batch statistics of groups cannot be " + ("synchronised" if config.sync_batchnorm else "taken in chunks"),
            where=f"train.{key}",
            found=getattr(config, key),
            fix="Use nano_cnn, which has none, or leave the option out.",
        )


@contextlib.contextmanager
def _signals_to_children() -> Iterator[None]:
    """The parent of spawned processes only passes SIGINT and SIGTERM on, and waits for their checkpoint."""

    def forward(number: int, _: Any) -> None:
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, number)

    old = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class _Calls(nn.Module):
    """Routes any call of a method through `forward`, where DDP and the precision see it."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, name: str, batch: Batch) -> Any:
        return getattr(self.method, name)(batch)


class Engine:
    """What the loop asks of the machine. `rank`, `world`, `device`; every call below is the same on all ranks."""

    def __init__(self, fabric: Fabric, config: TrainConfig) -> None:
        self.fabric, self.config = fabric, config
        self.rank, self.world = int(fabric.global_rank), int(fabric.world_size)
        self.device: torch.device = fabric.device
        self._wrapped: Any = None
        if config.batch_size % self.world:
            raise ConfigError(
                "train.batch_size is not a multiple of the devices", found=config.batch_size, expected=self.world
            )

    def setup(self, method: Method) -> None:
        """Take the method that `wrap` moves to the device."""
        _check_group_norms(method, self.config)
        if self.config.sync_batchnorm and self.world > 1:
            if self.device.type == "cpu":
                raise ConfigError("synchronised batch norm needs GPUs", where="train.sync_batchnorm")
            nn.SyncBatchNorm.convert_sync_batchnorm(method)  # type: ignore[no-untyped-call]
        self.method = method

    def wrap(self, optimizer_of: Callable[[Method], Optimizer]) -> None:
        """Move the method to the device, convert it to the precision, wrap it; then build its optimiser.

        Called again where other parameters need gradients: DDP waits for those that did when it was made.
        """
        if self._wrapped is not None and self.world > 1:
            self._wrapped = None
            gc.collect()  # The old wrapper's hooks on gradients go with it.
        self._wrapped = self.fabric.setup_module(_Calls(self.method))
        self.method = cast(Method, self._wrapped.module.method)
        self.optimizer = cast(Optimizer, self.fabric.setup_optimizers(optimizer_of(self.method)))

    @contextlib.contextmanager
    def numbers(self) -> Iterator[None]:
        """Thread count and default dtype of the run, put back afterwards."""
        dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
        if self.config.threads:
            torch.set_num_threads(self.config.threads)
        if self.config.precision == "64-true":
            # Fabric casts what a wrapped forward returns to the default dtype: in float32 the losses would be cut.
            torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_num_threads(threads)

    def step(self, batch: Batch) -> Output:
        """`method.step` under the strategy and precision."""
        out: Output = self._wrapped("step", batch)
        return out

    def project(self, batch: Batch) -> Projections:
        """`method.project` under the strategy and precision."""
        projections: Projections = self._wrapped("project", batch)
        return projections

    def backward(self, loss: Tensor) -> None:
        """Backward pass, scaled where the precision scales."""
        self.fabric.backward(loss)

    def unsynced(self, enabled: bool = True) -> AbstractContextManager[Any]:
        """Gradients of a backward pass inside stay on their rank until one outside of it."""
        context: AbstractContextManager[Any] = self.fabric.no_backward_sync(self._wrapped, enabled=enabled)
        return context

    def clip(self, limit: float) -> float:
        """Unscale the gradients, limit their norm (0: do not), return the norm before."""
        norm = self.fabric.clip_gradients(
            self._wrapped, self.optimizer, max_norm=limit or float("inf"), error_if_nonfinite=False
        )
        return float(norm) if norm is not None else 0.0

    def update(self, admitted: bool) -> None:
        """The optimiser's step where admitted; a loss scaler is told either way. Gradients are gone afterwards."""
        if admitted or self._scaler is not None:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @property
    def _scaler(self) -> Any:
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def scaler_state(self) -> dict[str, Any]:
        """State of the loss scaler; empty without one."""
        return dict(self._scaler.state_dict()) if self._scaler is not None else {}

    def load_scaler(self, state: dict[str, Any]) -> None:
        if self._scaler is not None and state:
            self._scaler.load_state_dict(state)

    def mean(self, values: Tensor) -> Tensor:
        """Elementwise mean over ranks."""
        values = values.detach().clone()
        if self.world > 1:
            dist.all_reduce(values)
        return values / self.world

    def largest(self, number: int) -> int:
        """The largest over ranks, so that all see a signal that only one caught."""
        if self.world == 1:
            return number
        value = torch.tensor(number, device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return int(value)

    def collect(self, value: Any) -> list[Any]:
        """One value a rank, in rank order, on every rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def first(self, function: Callable[[], Any]) -> Any:
        """What `function` returns on rank 0, on every rank; a NearfarError of rank 0 is raised on every rank."""
        value: list[Any] = [None, None]
        if self.rank == 0:
            try:
                value[0] = function()
            except NearfarError as error:
                value[1] = error
        if self.world > 1:
            dist.broadcast_object_list(value, src=0)
        if value[1] is not None:
            raise value[1]
        return value[0]

    def to_device(self, batch: Batch) -> Batch:
        """The batch with its tensors on the device."""
        return {k: v.to(self.device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}
