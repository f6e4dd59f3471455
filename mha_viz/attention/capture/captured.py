"""The door: a block in which a model's attention is recorded, and the Run that comes of it."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

import torch
from torch import nn

from mha_viz.attention.capture.chosen import Chosen
from mha_viz.attention.capture.labels import Given, labelled
from mha_viz.attention.capture.recorder import Recorder
from mha_viz.attention.capture.shadow import Shadow
from mha_viz.attention.capture.store import Store
from mha_viz.attention.runs import Run
from mha_viz.errors import InputError


def capture(
    model: nn.Module,
    *,
    layers: str | Iterable[str] | None = None,
    heads: Iterable[int] | None = None,
    items: Iterable[int] | None = None,
    limit_mb: float = 1024,
    inside: bool = False,
) -> Captured:
    """Record the attention of a model while a `with` block runs it.

        with mv.capture(model) as captured:
            model(x)
        run = captured.run(tokens=["the", "cat", "sat"])

    Seen are `nn.MultiheadAttention` and torch's Transformer modules anywhere in the model, and, within the forward of
    any of its modules, `F.multi_head_attention_forward`, `F.scaled_dot_product_attention` and softmaxes over the last
    of four dimensions. Calls are recorded in order, whatever the model is: several forwards, recursion, shared modules
    (by their first name; a second call is `name (call 2)`), train and eval. Only calls from the thread that entered
    the block are.

    The model computes what it would have computed: torch's modules run as they are, with their fast paths and nested
    tensors, no hook is added, and outputs, gradients and random numbers are the same bit for bit. Only a class derived
    from `nn.TransformerEncoderLayer` or `nn.MultiheadAttention` with a forward of its own runs with torch's fast path
    closed, which may change the last bits. Where a call returned no weights for each head, they come from a second
    call of the same function on the same tensors, with the same random numbers; `output_change` says by how much the
    outputs of the two differ.

    Within functions that `torch.compile` has compiled nothing is seen, and their results stay what they are: capture
    the module as it was before. `nn.DataParallel` calls copies in other threads: capture its `module`. FlexAttention
    is not seen.

    Args:
        model: Any module; itself an `nn.MultiheadAttention`, if you like.
        layers: Names of modules as `model.named_modules()` has them, or patterns such as `encoder.*`; all if None.
        heads: Indices of the heads to keep; all if None.
        items: Indices of the batch items to keep; all if None.
        limit_mb: What may be held, in megabytes of 2**20 bytes; a `CaptureWarning` comes before more would be.
        inside: Keep inputs and parameters too, for `mv.trace`; of `nn.MultiheadAttention` only.

    Returns:
        A context manager; what it yields has `run()`. Weights are kept on the CPU, detached.

    Raises:
        InputError: The model is no module, or an argument is out of bounds.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, not {type(model).__name__}.")
    if not limit_mb > 0:
        raise InputError(f"limit_mb must be more than 0, not {limit_mb!r}.")
    return Captured(model, Store(Chosen.of(layers, heads, items), limit_mb), inside=inside)


class Captured:
    """What a `with capture(...)` block has recorded."""

    def __init__(self, model: nn.Module, store: Store, *, inside: bool) -> None:
        self._model = model
        self._store = store
        self._inside = inside
        self._shadows: list[Shadow] = []

    def __enter__(self) -> Captured:
        if self._shadows:
            raise InputError("This capture is under way already: call capture(model) again for another.")
        recorder = Recorder(self._model, self._store, inside=self._inside)
        scripted = torch.jit.ScriptModule  # runs without Python, so there is nothing to stand in for
        self._shadows = [Shadow(m, recorder) for m in self._model.modules() if not isinstance(m, scripted)]
        for shadow in self._shadows:
            shadow.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for shadow in self._shadows:
            shadow.remove()
        self._shadows = []
        self._store.forget()

    def run(self, tokens: Given | None = None, memory_tokens: Given | None = None) -> Run:
        """Return what was recorded so far.

        Args:
            tokens: L labels, a list for all batch items or a list for each of the N; numbers if None. In models with
                cross-attention those of the decoder.
            memory_tokens: S labels of what cross-attention looks at, likewise.

        Returns:
            A Run with one layer for each attention call, in call order; its notes say what was left out.

        Raises:
            InputError: No attention was seen, nothing of it was kept, or the labels fit none of it.
        """
        store = self._store
        if not store.records:
            raise InputError(_nothing(store))
        layers = labelled(store.records, store.crossed, tokens, memory_tokens)
        return Run(
            layers=layers,
            inputs=None,
            scenario=None,
            device=store.device,
            dtype=str(layers[0].weights.dtype).removeprefix("torch."),
            seconds=None,
            name=type(self._model).__name__,
            norms=tuple(store.norms),
            notes=(*store.notes, *_left_out(store)),
        )


def _left_out(store: Store) -> tuple[str, ...]:
    if not store.left_out:
        return ()
    calls, shown = sum(store.seen.values()), store.left_out[:5]
    more = f" and {len(store.left_out) - len(shown)} more" if len(store.left_out) > len(shown) else ""
    names = ", ".join(shown)
    return (f"{len(store.left_out)} of {calls} attention calls do not fit limit_mb={store.limit_mb:g}: {names}{more}.",)


def _nothing(store: Store) -> str:
    if not store.seen:
        return (
            "capture must see attention, but there was none: it reads nn.MultiheadAttention, torch's Transformer "
            "modules, F.scaled_dot_product_attention and softmaxes over the last of four dimensions, in models that "
            "are called inside the block."
        )
    if store.left_out or store.notes:
        return " ".join(
            ("capture must keep some of the attention, but nothing is left.", *_left_out(store), *store.notes)
        )
    names = ", ".join(list(store.seen)[:5])
    return f"layers must name modules that attend, such as {names}, not {', '.join(store.chosen.layers or ())}."
