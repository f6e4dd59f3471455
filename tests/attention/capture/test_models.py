"""Models of every kind: who called, how often, from where; and that nothing of a capture stays behind."""

from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from mha_viz.attention.capture import capture
from mha_viz.errors import InputError
from tests.attention.capture.transparency import restored, run_of

N, L, E, H = 2, 5, 16, 2
X = torch.randn(N, L, E, generator=torch.Generator().manual_seed(1))


def attention(**options: float) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    return nn.MultiheadAttention(E, H, batch_first=True, **options)


def weights(mha: nn.MultiheadAttention, x: Tensor) -> Tensor:
    return mha(x, x, x, average_attn_weights=False)[1]


class Again(nn.Module):
    """Calls itself, and so its attention, `times` over."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = attention()

    def forward(self, x: Tensor, times: int = 2) -> Tensor:
        x = x + self.attn(x, x, x, need_weights=False)[0]
        return x if times == 0 else self(x, times - 1)


class Functional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)


def test_recursion_and_several_forwards() -> None:
    model = Again()
    run = run_of(model, lambda m: m(X) + m(2 * X, 0))
    assert [layer.name for layer in run.layers] == ["attn", "attn (call 2)", "attn (call 3)", "attn (call 4)"]
    inputs = [X]
    for _ in range(2):
        inputs.append(inputs[-1] + model.attn(*[inputs[-1]] * 3)[0])
    for layer, x in zip(run.layers, [*inputs, 2 * X], strict=True):
        assert torch.allclose(layer.weights, weights(model.attn, x), rtol=0, atol=1e-6)


def test_a_module_that_several_parents_share_goes_by_its_first_name() -> None:
    block = nn.TransformerEncoderLayer(E, H, 32, dropout=0.0, batch_first=True)
    model = nn.ModuleDict({"first": nn.Sequential(block, block), "second": nn.Sequential(block)})
    run = run_of(model, lambda m: m["second"](m["first"](X)))
    names = ["first.0.self_attn", "first.0.self_attn (call 2)", "first.0.self_attn (call 3)"]
    assert [layer.name for layer in run.layers] == names
    x = X
    for layer in run.layers:
        assert torch.allclose(layer.weights, weights(block.self_attn, x), rtol=0, atol=1e-6)
        x = block(x)
    norms = ["first.0 input", "first.0", "first.0 (call 2)", "first.0 (call 3) input", "first.0 (call 3)"]
    assert [name for name, _ in run.norms] == norms


def test_an_exception_inside_the_block_leaves_nothing_behind() -> None:
    class Fails(Again):
        def forward(self, x: Tensor, times: int = 0) -> Tensor:
            super().forward(x, 0)
            F.scaled_dot_product_attention(x, x, x)
            raise RuntimeError("of the model")

    model = Fails()
    captured = capture(model)
    with pytest.raises(RuntimeError, match="of the model"), captured:
        model(X)
    restored(model)
    assert [layer.name for layer in captured.run().layers] == ["attn", "Fails"]
    with captured, pytest.raises(RuntimeError, match="of the model"):
        model(X)  # and the next block goes on
    assert len(captured.run().layers) == 4


def test_a_call_that_torch_refuses_is_refused_as_without_a_capture() -> None:
    model = attention()
    with capture(model), pytest.raises(RuntimeError, match=r"shape of the 2D attn_mask is torch.Size\(\[3, 3\]\)"):
        model(X, X, X, attn_mask=torch.zeros(3, 3, dtype=torch.bool))
    with capture(model), pytest.raises(TypeError, match="missing 1 required positional argument: 'value'"):
        model(X, X)
    restored(model)


def test_a_forward_of_the_instances_own_is_called_and_put_back() -> None:
    model = attention()
    original = model.forward

    def forward(x: Tensor) -> Tensor:
        return original(x, x, x, need_weights=False)[0]

    model.forward = forward
    with capture(model) as captured:
        output = model(X)
    assert vars(model)["forward"] is forward
    assert torch.equal(output, model(X))
    del model.forward
    assert torch.allclose(captured.run().layers[0].weights, weights(model, X), rtol=0, atol=1e-6)


def test_captures_in_captures() -> None:
    model = nn.Sequential(Again(), Functional())
    with capture(model) as outer:
        with capture(model[0].attn) as inner:
            model(X)
        model(X)
    restored(model)
    assert [layer.name for layer in inner.run().layers] == [
        *("MultiheadAttention", "MultiheadAttention (call 2)", "MultiheadAttention (call 3)")
    ]
    once = ["0.attn", "0.attn (call 2)", "0.attn (call 3)", "1"]
    again = ["0.attn (call 4)", "0.attn (call 5)", "0.attn (call 6)", "1 (call 2)"]
    assert [layer.name for layer in outer.run().layers] == once + again
    for mine, other in zip(inner.run().layers, outer.run().layers, strict=False):
        assert torch.equal(mine.weights, other.weights)


def test_captures_that_end_in_the_order_in_which_they_began() -> None:
    model = Again()
    first, second = capture(model), capture(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    model(X, 0)
    second.__exit__(None, None, None)
    restored(model)
    assert len(second.run().layers) == 1
    with pytest.raises(InputError, match="there was none"):
        first.run()


def test_a_generator_that_is_left_open_changes_nothing_outside() -> None:
    model = Functional()

    def steps() -> Iterator[None]:
        with capture(model):
            model(X)
            yield

    suspended = steps()
    next(suspended)
    assert torch.overrides._get_current_function_mode_stack() == []
    suspended.close()
    restored(model)


def test_only_the_thread_that_entered_is_recorded() -> None:
    model = Again()
    found = []
    with capture(model) as captured:
        other = threading.Thread(target=lambda: found.append(model(X, 0)))
        other.start()
        other.join()
        mine = model(X, 0)
    assert torch.equal(found[0], mine)
    assert len(captured.run().layers) == 1


@pytest.mark.parametrize("model", [Again(), nn.TransformerEncoderLayer(E, H, 32, dropout=0.3, batch_first=True)])
def test_gradients_are_the_same(model: nn.Module) -> None:
    def gradients() -> list[Tensor]:
        x = X.clone().requires_grad_()
        torch.manual_seed(0)
        model(x).square().sum().backward()
        found = [x.grad, *(parameter.grad.clone() for parameter in model.parameters())]
        model.zero_grad()
        return found

    bare = gradients()
    with capture(model):
        captured = gradients()
    assert all(torch.equal(mine, other) for mine, other in zip(bare, captured, strict=True))


def test_checkpointed_blocks() -> None:
    class Checkpointed(Again):
        def forward(self, x: Tensor, times: int = 0) -> Tensor:
            return checkpoint(super().forward, x, times, use_reentrant=False)

    model = Checkpointed()
    with capture(model) as captured:
        output = model(X)
    output.sum().backward()
    assert model.attn.in_proj_weight.grad is not None
    assert torch.allclose(captured.run().layers[0].weights, weights(model.attn, X), rtol=0, atol=1e-6)


def test_inference_mode_gives_plain_tensors() -> None:
    model = nn.Sequential(Again(), nn.TransformerEncoderLayer(E, H, 32, batch_first=True)).eval()
    with torch.inference_mode():
        run = run_of(model, lambda m: m(X), inside=True)
    for layer in run.layers:
        assert not layer.weights.is_inference()
        assert not layer.call.query.is_inference()
        (layer.weights * torch.ones(1, requires_grad=True)).sum().backward()


@pytest.mark.parametrize("training", [True, False])
def test_autocast(training: bool) -> None:
    model = nn.TransformerEncoderLayer(E, H, 32, dropout=0.0, batch_first=True).train(training)
    with torch.autocast("cpu", torch.bfloat16):
        run = run_of(model, lambda m: m(X, src_key_padding_mask=torch.zeros(N, L, dtype=torch.bool)))
    assert torch.allclose(run.layers[0].weights.float(), weights(model.self_attn, X), rtol=0, atol=0.02)
    assert run.notes == ()


def test_a_copy_made_inside_the_block_is_not_captured() -> None:
    model = Again()
    with capture(model) as captured:
        copied = copy.deepcopy(model)
        with torch.no_grad():
            copied.attn.out_proj.weight.zero_()
        output = copied(X, 0)
        assert inspect.signature(model.forward) == inspect.signature(Again().forward)
    assert torch.equal(output, X + copied.attn.out_proj.bias)
    with pytest.raises(InputError, match="there was none"):
        captured.run()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_scripted_modules_run_as_they_are() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scripted, self.attn = torch.jit.script(nn.Linear(E, E)), attention()

        def forward(self, x: Tensor) -> Tensor:
            x = self.scripted(x)
            return self.attn(x, x, x)[0]

    model = Mixed()
    before = model(X)
    with capture(model) as captured:
        assert torch.equal(model(X), before)
    assert len(captured.run().layers) == 1


@pytest.mark.filterwarnings("ignore")  # torch.compile's own
def test_what_is_compiled_is_left_alone() -> None:
    model = nn.Sequential(attention_block := nn.TransformerEncoderLayer(E, H, 32, dropout=0.0, batch_first=True))
    compiled = torch.compile(model, backend="eager")
    before = compiled(X)
    with capture(compiled) as captured:
        assert torch.equal(compiled(X), before)
    assert torch.equal(compiled(X), before)
    with pytest.raises(InputError, match="there was none"):
        captured.run()
    run = run_of(model, lambda m: m(X))
    assert torch.allclose(run.layers[0].weights, weights(attention_block.self_attn, X), rtol=0, atol=1e-6)


def test_modes_of_others_stay_and_keep_their_order() -> None:
    class Counts(TorchFunctionMode):
        calls = 0

        def __torch_function__(
            self, func: object, types: object, args: tuple = (), kwargs: dict | None = None
        ) -> object:
            self.calls += 1
            return func(*args, **(kwargs or {}))

    model = nn.Sequential(Again(), Functional())
    with Counts() as counts:
        model(X)
        bare, counts.calls = counts.calls, 0
        with capture(model) as captured:
            model(X)
            assert torch.overrides._get_current_function_mode_stack() == [counts]
    assert bare > 0
    assert len(captured.run().layers) == 4


def test_a_capture_under_way_is_not_entered_again() -> None:
    captured = capture(Again())
    with captured, pytest.raises(InputError, match="under way already"):
        captured.__enter__()


def test_a_run_says_what_ran_and_where() -> None:
    run = run_of(Again(), lambda m: m(X))
    assert (run.name, run.device, run.dtype, run.scenario, run.inputs) == ("Again", "cpu", "float32", None, None)
    assert run.query_tokens() == ("0", "1", "2", "3", "4")


def test_layers_of_ones_own_in_torchs_encoder() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.self_attn, self.linear = attention(), nn.Linear(E, E)  # the encoder asks for its layout

        def forward(self, src: Tensor, **options: object) -> Tensor:
            x = self.linear(src)
            return F.scaled_dot_product_attention(x, x, x)

    model = nn.TransformerEncoder(Own(), 2, enable_nested_tensor=False).eval()
    run = run_of(model, lambda m: m(X))
    x = model.layers[0].linear(X)
    assert [layer.name for layer in run.layers] == ["layers.0", "layers.1"]
    assert torch.allclose(run.layers[0].weights[:, 0], (x @ x.mT / E**0.5).softmax(-1), rtol=0, atol=1e-6)


def test_shapes_without_numbers_are_passed_over() -> None:
    model = nn.Sequential(Again(), Functional()).to("meta")
    with capture(model) as captured:
        assert model(X.to("meta")).is_meta
    with pytest.raises(InputError, match="there was none"):
        captured.run()


def test_only_modules_can_be_captured() -> None:
    with pytest.raises(InputError, match=r"model must be a torch\.nn\.Module, not function\."):
        capture(lambda x: x)
