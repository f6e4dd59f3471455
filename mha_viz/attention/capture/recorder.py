"""What happens when a captured module is called: it runs as it would have, and what it attended to is read off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from mha_viz.attention.capture import encoder_layer, nested
from mha_viz.attention.capture.frame import Frame, given, of_encoder
from mha_viz.attention.capture.functions import Functions
from mha_viz.attention.capture.multihead import Multihead, heard
from mha_viz.attention.capture.norms import BLOCKS, Norms
from mha_viz.attention.capture.projection import Projection
from mha_viz.attention.capture.random_state import RandomState
from mha_viz.attention.capture.shadow import Shadow
from mha_viz.attention.capture.store import Store
from mha_viz.attention.capture.watch import Watch, unwatched, watched
from mha_viz.attention.records import Passed

NESTED = (
    "The encoder left the padding out (nested tensors): the rows of padded queries show what zeros in their place "
    "would attend to."
)


class Recorder:
    """Listens to the modules of a model, in the thread that made it."""

    def __init__(self, model: nn.Module, store: Store, *, inside: bool) -> None:
        self._store = store
        self._names = {id(module): name or type(module).__name__ for name, module in model.named_modules()}
        self._thread = threading.get_ident()
        self._frames: list[Frame] = []
        self._multihead = Multihead(store, inside=inside)
        self._norms = Norms(store)
        self._watch = Watch(Functions(self._multihead, store, self._owner).readers)

    def called(self, shadow: Shadow, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a module's forward for its caller, and record it."""
        if torch.compiler.is_compiling() or threading.get_ident() != self._thread:
            return shadow.original(*args, **kwargs)
        with self._framed(shadow) as frame:
            module = shadow.module
            if isinstance(module, nn.MultiheadAttention) and _is_plain(shadow, nn.MultiheadAttention):
                return self._attention(shadow, module, args, kwargs)
            if isinstance(module, BLOCKS):
                return self._block(shadow, frame, args, kwargs)
            if isinstance(module, nn.TransformerEncoder):
                of_encoder(frame, args, kwargs)
                with unwatched():
                    return shadow.original(*args, **kwargs)
            with self._around(shadow):
                return shadow.original(*args, **kwargs)

    def _attention(
        self, shadow: Shadow, module: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        dropping = module.training and module.dropout > 0
        random = RandomState.of(module.out_proj.weight.device) if dropping else None
        with unwatched():
            result = shadow.original(*args, **kwargs)
            with self._store.reading(self._owner()):
                arguments = given(nn.MultiheadAttention.forward, args, kwargs)
                call = Projection.of_module(module, arguments)
                output = nested.padded(result[0].detach())
                if module.batch_first and call.batched:
                    output = output.transpose(0, 1)
                passed = self._passed_around(call.masks)
                self._multihead.record(heard(self._owner(), call, passed, (output, result[1]), random))
        return result

    def _block(self, shadow: Shadow, frame: Frame, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one of torch's layers; a class derived from one runs as itself, with its fast path closed."""
        layer = shadow.module
        own = any(_is_plain(shadow, kind) for kind in BLOCKS)
        stream = args[0] if args else kwargs.get("src", kwargs.get("tgt"))
        if own:
            self._inherit(frame)
            of_encoder(frame, args, kwargs)
        closed = isinstance(stream, Tensor) and stream.is_nested  # only the fast path takes nested tensors
        with unwatched() if own or closed else watched(self._watch):
            output = shadow.original(*args, **kwargs)
        with unwatched(), self._store.reading(frame.name):
            if isinstance(stream, Tensor) and isinstance(output, Tensor) and not self._within_block():
                self._norms.block(frame.name, layer, stream, output, frame.length)
            if own and isinstance(layer, nn.TransformerEncoderLayer) and id(layer.self_attn) not in frame.called:
                arguments = given(nn.TransformerEncoderLayer.forward, args, kwargs)
                name = self._names.get(id(layer.self_attn), f"{frame.name}.self_attn")
                self._multihead.record(encoder_layer.heard(name, frame, arguments, output))
                if closed:
                    self._store.note(NESTED)
        return output

    @contextmanager
    def _framed(self, shadow: Shadow) -> Iterator[Frame]:
        module = shadow.module
        frame = Frame(self._names[id(module)], module)
        if self._frames:
            self._frames[-1].called.add(id(module))
        self._frames.append(frame)
        try:
            yield frame
        finally:
            self._frames.pop()
            if not self._frames:
                self._norms.forget()

    def _around(self, shadow: Shadow) -> AbstractContextManager[None]:
        """Watch the functions in forwards that are not torch's; what torch compiles must not see the watch."""
        home = type(shadow.module).__module__
        if home.startswith("torch._dynamo."):
            return unwatched()
        torchs = home.startswith("torch.nn.modules.") and shadow.untouched
        return nullcontext() if torchs else watched(self._watch)

    def _owner(self) -> str:
        return self._frames[-1].name

    def _within_block(self) -> bool:
        return any(isinstance(frame.module, BLOCKS) for frame in self._frames[:-1])

    def _inherit(self, frame: Frame) -> None:
        """Know the masks that the encoder around a layer was given: it hands on others of the same meaning."""
        above = self._frames[-2] if len(self._frames) > 1 else None
        if above is not None and isinstance(above.module, nn.TransformerEncoder):
            frame.masks, frame.length = above.masks, above.length

    def _passed_around(self, masks: Passed) -> Passed:
        """Return the masks that torch's encoder layer around this attention was given, or these."""
        above = self._frames[-2] if len(self._frames) > 1 else None
        inside = above is not None and getattr(above.module, "self_attn", None) is self._frames[-1].module
        return above.masks if above is not None and inside and above.masks is not None else masks


def _is_plain(shadow: Shadow, kind: type[nn.Module]) -> bool:
    """Say whether a module computes as torch's class does, whatever its class is called."""
    own = ("forward", "_sa_block", "_mha_block")
    return shadow.untouched and all(getattr(type(shadow.module), n, None) is getattr(kind, n, None) for n in own)
