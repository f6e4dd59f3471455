"""What the rules say about torch, on the installed torch: each bad mask really does it."""

from __future__ import annotations

import itertools
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mha_viz.doctor import RULES, Case, check, repaired
from mha_viz.masks import encode, mask
from mha_viz.masks.encode import Api

E, H, L, N = 16, 2, 4, 2
CAUSAL = torch.ones(L, L, dtype=torch.bool).triu(1)


def layer(heads: int = H, **settings) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    return nn.MultiheadAttention(E, heads, **{"batch_first": True, **settings})


def x(items: int = N, length: int = L) -> Tensor:
    return torch.randn(items, length, E, generator=torch.Generator().manual_seed(1))


def weights(attn_mask: Tensor | None = None, padding: Tensor | None = None, **settings) -> Tensor:
    query = x(N, L if attn_mask is None else attn_mask.shape[-2])
    module = layer(**settings)
    return module(query, query, query, attn_mask=attn_mask, key_padding_mask=padding, average_attn_weights=False)[
        1
    ].detach()


def bad(rule: str) -> Case:
    return RULES[rule].bad()


def test_an_inverted_causal_mask_shows_the_future_and_its_last_row_is_nan() -> None:
    made = weights(bad("inverted-mask").attn_mask)
    assert made[..., -1, :].isnan().all()
    assert (made[..., :-1, :].tril() == 0).all()
    assert (made[..., :-1, :][..., CAUSAL[:-1]] > 0).all()


def test_an_inverted_mask_gives_zeros_in_scaled_dot_product_attention() -> None:
    query = x()
    out = F.scaled_dot_product_attention(query, query, query, CAUSAL)
    assert (out[:, -1] == 0).all()
    report = check(CAUSAL, api="sdpa")
    assert report.findings[0].rule == "inverted-mask"
    assert report.findings[0].evidence.endswith("query 3 has no key left, which gives an output of zeros")


def test_a_hidden_diagonal_makes_the_first_row_nan() -> None:
    made = weights(bad("diagonal-masked").attn_mask)
    assert made[..., 0, :].isnan().all()
    assert not made[..., 1:, :].isnan().any()


@pytest.mark.parametrize("rule", ["additive-ones", "additive-padding"])
def test_float_ones_multiply_the_unnormalised_weight_by_e(rule: str) -> None:
    case = bad(rule)
    ones = case.attn_mask if case.attn_mask is not None else case.key_padding_mask
    assert ones is not None
    if rule == "additive-ones":
        plain, made, added = weights(torch.zeros(L, L)), weights(ones), ones
    else:
        query = x(2, 3)
        plain, made = (
            layer()(query, query, query, key_padding_mask=padding, average_attn_weights=False)[1].detach()
            for padding in (None, ones)
        )
        added = ones[:, None, None]
    expected = plain * torch.where(added == 1, math.e, 1.0)
    torch.testing.assert_close(made, expected / expected.sum(dim=-1, keepdim=True))
    assert (made > 0).all()


@pytest.mark.parametrize("rule", ["nan-in-mask", "plus-infinity"])
def test_nan_and_plus_infinity_make_rows_nan(rule: str) -> None:
    raw = bad(rule).attn_mask
    assert raw is not None
    made = weights(raw).isnan()
    rows = (raw.isnan() | (raw == torch.inf)).any(dim=-1)
    assert torch.equal(made.any(dim=-1), rows.expand(N, H, L))
    assert torch.equal(made.all(dim=-1), rows.expand(N, H, L))


@pytest.mark.parametrize("penalty", [-1.0, -5.0, -10.0])
def test_the_leaked_share_is_that_of_equal_scores(penalty: float) -> None:
    raw = torch.full((L, L), penalty).triu(1)
    share = float(raw.softmax(dim=-1).masked_fill(~CAUSAL, 0).sum(dim=-1).max())
    report = check(raw)
    assert report.findings[0].evidence == f"with equal scores, hidden keys get up to {share:.3g} of a row (query 0)"
    assert (weights(raw)[..., CAUSAL] > 0).all()


def test_the_leaked_share_is_measured_where_weights_are_given() -> None:
    raw = torch.full((L, L), -1.0).triu(1)
    made = weights(raw)
    leaked = float(made.masked_fill(~CAUSAL, 0).sum(dim=-1).max())
    for given in (made, made.mean(dim=1)):
        part = given.masked_fill(~CAUSAL, 0).sum(dim=-1).max()
        evidence = check(raw, weights=given).findings[0].evidence
        assert evidence.endswith(f"; in the weights given it is up to {float(part):.3g}")
    assert leaked > 0.1


@pytest.mark.parametrize("penalty", [-150.0, -1e4])
def test_a_large_penalty_leaks_nothing_and_is_a_note(penalty: float) -> None:
    raw = torch.full((L, L), penalty).triu(1)
    assert (weights(raw)[..., CAUSAL] == 0).all()
    report = check(raw)
    assert report.ok
    assert report.findings[0].evidence == "its exponential is 0, so nothing leaks"


def test_rows_hidden_by_the_lowest_number_are_uniform() -> None:
    made = weights(bad("uniform-rows").attn_mask)
    torch.testing.assert_close(made[..., 0, :], torch.full((N, H, L), 0.25))
    evidence = check(bad("uniform-rows").attn_mask).findings[0].evidence
    assert evidence.endswith("query 0 gives 0.25 to each of the keys 0 to 3")


def test_two_lowest_numbers_overflow_and_the_row_spreads_over_real_keys_of_the_future() -> None:
    lowest = torch.finfo(torch.float32).min
    raw = torch.full((L, L), lowest).triu(1)
    padding = torch.tensor([[0.0] * 4, [lowest, lowest, 0.0, 0.0]])
    made = weights(raw, padding)[1, 0]
    torch.testing.assert_close(made[0], torch.tensor([1 / 3, 0, 1 / 3, 1 / 3]))
    report = check(raw, padding, num_heads=H)
    (finding,) = report.of("uniform-rows")
    assert finding.where == ((1, None, 0, None), (1, None, 1, None))
    assert finding.evidence.endswith("batch item 1, query 0 gives 0.333 to each of the keys 0 and 2 to 3")


@pytest.mark.parametrize("api", ["mha", "sdpa"])
@pytest.mark.parametrize("shape", [(1, 3), (1, 1), (L, L)], ids=str)
def test_one_number_everywhere_changes_nothing_and_is_no_penalty(shape: tuple[int, int], api: Api) -> None:
    raw, query, key = torch.full(shape, -2.5), x(N, shape[0])[:, None], x(N, shape[1])[:, None]
    added = F.scaled_dot_product_attention(query, key, key, raw)
    torch.testing.assert_close(added, F.scaled_dot_product_attention(query, key, key))
    report = check(raw, api=api)
    assert report.ok, str(report)
    assert check(torch.full(shape, -1e9), api=api).of("uniform-rows")


def test_items_that_the_lowest_number_hides_in_a_broadcast_mask_are_uniform() -> None:
    raw = torch.zeros(N, 1, 1, L)
    raw[1] = torch.finfo(torch.float32).min
    query = x()[:, None].expand(-1, H, -1, -1)
    one_hot = torch.eye(L).expand(N, H, L, L)
    made = F.scaled_dot_product_attention(query, query, one_hot, raw)
    torch.testing.assert_close(made[1], torch.full((H, L, L), 0.25))
    (finding,) = check(raw, api="sdpa", num_heads=H, query_len=L).findings
    assert (finding.rule, finding.where) == ("uniform-rows", tuple((1, None, i, None) for i in range(L)))
    assert finding.evidence.endswith("batch item 1, query 0 gives 0.25 to each of the keys 0 to 3")
    after = repaired(Case(attn_mask=raw, api="sdpa", num_heads=H, query_len=L), "uniform-rows")
    torch.testing.assert_close(
        F.scaled_dot_product_attention(query, query, one_hot, after.attn_mask)[1, 0], torch.eye(L)
    )


SHAPES = [(4,), (1,), (4, 4), (1, 4), (4, 1), (1, 1), (2, 4), (4, 2), (3, 4, 4), (2, 4, 4), (3, 1, 4), (1, 1, 1)]
SHAPES += [(2, 1, 1, 4), (2, 3, 4, 4), (1, 3, 1, 4), (3, 1, 4, 4), (2, 3, 1, 1), (1, 1, 1, 1, 4)]


@pytest.mark.parametrize("queries", [1, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_shapes_that_the_function_refuses_are_found(shape: tuple[int, ...], queries: int) -> None:
    query, key = torch.randn(2, 3, queries, 8), torch.randn(2, 3, 4, 8)
    sizes = {"batch_size": 2, "num_heads": 3, "query_len": queries, "key_len": 4}
    for raw in (torch.zeros(shape), torch.ones(shape).bool()):
        try:
            taken = F.scaled_dot_product_attention(query, key, key, raw).shape == query.shape
        except (RuntimeError, IndexError):
            taken = False
        assert bool(check(raw, api="sdpa", **sizes).of("mask-shape")) == (not taken)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_integers_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(AssertionError, match="only bool and floating types of attn_mask are supported"):
        weights(CAUSAL.to(dtype))
    with pytest.raises(AssertionError, match="only bool and floating types of key_padding_mask are supported"):
        weights(padding=torch.zeros(N, L, dtype=dtype))


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_another_floating_type_is_refused(dtype: torch.dtype, need_weights: bool) -> None:
    raw = torch.zeros(L, L).masked_fill(CAUSAL, -torch.inf).to(dtype)
    query = x()
    with pytest.raises(RuntimeError, match="dtype"):
        layer()(query, query, query, attn_mask=raw, need_weights=need_weights)
    assert check(raw).findings[0].rule == "float-dtype"


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.mark.parametrize("padding", [None, torch.bool, *FLOATS], ids=str)
@pytest.mark.parametrize("attn", [None, torch.bool, *FLOATS], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_masks_of_another_floating_type_are_an_error_where_torch_refuses_them(
    dtype: torch.dtype, attn: torch.dtype | None, padding: torch.dtype | None
) -> None:
    if attn is None and padding is None:
        return
    query, module = x().to(dtype), layer(dtype=dtype)
    masks = {
        "attn_mask": None if attn is None else torch.zeros(L, L).to(attn),
        "key_padding_mask": None if padding is None else torch.zeros(N, L).to(padding),
    }
    refused = False
    for need_weights in (True, False):
        try:
            module(query, query, query, **masks, need_weights=need_weights)
        except RuntimeError:
            refused = True
    found = check(**masks, dtype=dtype, num_heads=H).of("float-dtype")
    assert any(finding.severity == "error" for finding in found) == refused
    others = [given for given in (attn, padding) if given not in (None, torch.bool, dtype)]
    assert len(found) == len(others)


def test_a_large_penalty_becomes_infinite_in_half_precision() -> None:
    raw = bad("half-overflow").attn_mask
    assert raw is not None
    assert (raw.half()[CAUSAL] == -torch.inf).all()


def test_mixed_types_are_warned_of_and_right() -> None:
    floats, padding = torch.full((L, L), -torch.inf).triu(1), torch.tensor([[0] * 4, [0, 0, 0, 1]]).bool()
    with pytest.warns(UserWarning, match="mismatched key_padding_mask and attn_mask is deprecated"):
        mixed = weights(floats, padding)
    assert torch.equal(mixed, weights(CAUSAL, padding))


PATHS = {
    "weights": (True, torch.enable_grad, True),
    "no weights": (False, torch.enable_grad, True),
    "fast path": (True, torch.no_grad, False),
    "fast path, no weights": (False, torch.no_grad, False),
}


EMPTY = [("all-padding", (1, 0)), ("left-padding-causal", (1, 0)), ("fully-masked-rows", (0, 1))]


@pytest.mark.parametrize(("rule", "row"), EMPTY)
@pytest.mark.parametrize("path", list(PATHS))
def test_an_empty_row_gives_what_the_finding_says(rule: str, row: tuple[int, int], path: str) -> None:
    case = bad(rule)
    need_weights, grad, training = PATHS[path]
    module = layer().train(training)
    nn.init.normal_(module.out_proj.bias, generator=torch.Generator().manual_seed(0))
    query = x(2, case.sizes.keys or 0)
    call = {"attn_mask": case.attn_mask, "key_padding_mask": case.key_padding_mask}
    with grad():
        out, _ = module(query, query, query, **call, need_weights=need_weights)
    if path == "no weights":
        torch.testing.assert_close(out[row].detach(), module.out_proj.bias.detach())
    else:
        assert out[row].isnan().all()
    assert (
        "with need_weights=True, and on the fast path of eval and no_grad, such a row has NaN weights and output; "
        "with need_weights=False and gradients its output is out_proj.bias"
    ) in check(case.attn_mask, case.key_padding_mask, num_heads=H).of(rule)[0].evidence


def test_an_empty_row_makes_every_gradient_nan_though_the_loss_leaves_it_out() -> None:
    raw = bad("fully-masked-rows").attn_mask
    module, query = layer(), x(2, 3)
    out, _ = module(query, query, query, attn_mask=raw)
    out[:, [0, 2]].sum().backward()
    assert module.in_proj_weight.grad is not None
    assert module.in_proj_weight.grad.isnan().all()


def test_appended_keys_take_the_weight_of_an_empty_row() -> None:
    raw = bad("fully-masked-rows").attn_mask
    made = weights(raw, add_zero_attn=True)
    assert made.shape == (N, H, 3, 4)
    assert (made[..., 1, :] == torch.tensor([0.0, 0, 0, 1])).all()
    report = check(raw, add_zero_attn=True)
    assert report.ok
    assert report.findings[0].evidence == (
        "add_zero_attn: the weights have S + 1 = 4 columns, the masks have 3; 1 row gives them all the weight"
    )
    with pytest.raises(RuntimeError):
        weights(torch.zeros(3, 4).bool(), add_zero_attn=True)


def test_padded_queries_keep_their_weights() -> None:
    padding = torch.tensor([[0] * 4, [0, 0, 1, 1]]).bool()
    made = weights(padding=padding)
    torch.testing.assert_close(made[1, :, 2:].sum(dim=-1), torch.ones(H, 2))


def test_repeat_gives_items_the_masks_of_others() -> None:
    raw = bad("repeat-order").attn_mask
    assert raw is not None
    query = x(2, 3)
    made = layer(4)(query, x(2, 4), x(2, 4), attn_mask=raw, average_attn_weights=False)[1]
    assert torch.equal(made[0, 1] == 0, raw[1])
    assert (raw[1] != raw[0]).any()


@pytest.mark.parametrize("rule", ["mask-shape", "padding-shape", "padding-transposed"])
def test_wrong_shapes_are_refused_and_the_repaired_taken(rule: str) -> None:
    case = bad(rule)
    keys = case.sizes.keys or 0
    query, key = x(2, case.sizes.queries or 3), x(2, keys)

    def call(made: Case) -> None:
        layer()(query, key, key, attn_mask=made.attn_mask, key_padding_mask=made.key_padding_mask)

    with pytest.raises((RuntimeError, AssertionError)):
        call(case)
    repair = RULES[rule].repair
    assert repair
    call(repair(case))


def test_the_hint_alone_is_an_error_in_training_and_nothing_in_eval() -> None:
    query, module = x(), layer()
    with pytest.raises(RuntimeError, match="Need attn_mask if specifying the is_causal hint"):
        module(query, query, query, is_causal=True)
    with torch.no_grad():
        _, made = module.eval()(query, query, query, is_causal=True)
    assert (made > 0).all()


def test_the_hint_against_a_mask_counts_by_need_weights() -> None:
    query, raw = x(), bad("causal-hint-against-mask").attn_mask
    call = {"attn_mask": raw, "is_causal": True}
    by_mask, _ = layer()(query, query, query, **call, need_weights=True)
    by_hint, _ = layer()(query, query, query, **call, need_weights=False)
    causal, _ = layer()(query, query, query, attn_mask=CAUSAL)
    unmasked, _ = layer()(query, query, query)
    torch.testing.assert_close(by_mask, unmasked)
    torch.testing.assert_close(by_hint, causal)
    padding = torch.zeros(N, L).bool()
    with_padding, _ = layer()(query, query, query, **call, key_padding_mask=padding, need_weights=False)
    torch.testing.assert_close(with_padding, unmasked)


def test_scaled_dot_product_attention_aligns_its_causal_mask_top_left() -> None:
    query, key = torch.randn(1, 2, 8), torch.randn(1, 5, 8)
    seen = F.scaled_dot_product_attention(query, key, torch.eye(5)[None], is_causal=True)[0] > 0
    assert torch.equal(seen, mask("causal").allowed(2, 5))
    for intent, severity in ((None, "warning"), ("causal_bottom_right", "error")):
        (finding,) = check(is_causal=True, query_len=2, key_len=5, api="sdpa", intent=intent).findings
        assert (finding.rule, finding.severity) == ("causal-alignment", severity)
    assert check(is_causal=True, query_len=2, key_len=5, api="sdpa", intent="causal").findings == ()


@pytest.mark.parametrize("sizes", [(4, 4), (2, 5), (5, 2)], ids=str)
@pytest.mark.parametrize("given", [None, "window(1)"])
@pytest.mark.parametrize("intent", ["full", "window(1)", "causal", "causal & window(1)", "causal_bottom_right"])
def test_what_the_function_hides_by_itself_is_compared_with_the_intent(
    sizes: tuple[int, int], given: str | None, intent: str
) -> None:
    # Of four dimensions, and values as wide as keys: the way through torch that takes a mask beside is_causal.
    query, key = torch.randn(1, 1, *sizes), torch.randn(1, 1, sizes[1], sizes[1])
    call = {"attn_mask": None if given is None else mask(given).allowed(*sizes), "is_causal": True}
    values, wanted = torch.eye(sizes[1])[None, None], mask(intent).allowed(*sizes)
    try:
        seen = F.scaled_dot_product_attention(query, key, values, **call)[0, 0] > 0
    except RuntimeError:
        pytest.skip("this version of torch refuses attn_mask together with is_causal=True")
    case = Case(**call, api="sdpa", query_len=sizes[0], key_len=sizes[1], intent=mask(intent))
    other = (seen ^ wanted) & wanted.any(dim=-1, keepdim=True)
    found = list(RULES["differs-from-intent"].findings(case))
    assert bool(found) == bool(other.any())
    assert bool(found) <= (not check(**call, api="sdpa", query_len=sizes[0], key_len=sizes[1], intent=intent).ok)
    if found:
        assert found[0].evidence.startswith(f"{int(other.sum())} cells differ: {int((other & seen).sum())} visible")
        after = repaired(case, "differs-from-intent")
        assert not after.is_causal
        made = F.scaled_dot_product_attention(query, key, values, after.attn_mask)[0, 0] > 0
        assert torch.equal(made, wanted)


def test_the_subject_of_a_difference_is_what_hides() -> None:
    call = {"query_len": 4, "key_len": 4, "api": "sdpa", "is_causal": True, "intent": "full"}
    alone, beside = (check(raw, **call).of("differs-from-intent")[0] for raw in (None, torch.ones(4, 4).bool()))
    assert alone.message == "is_causal=True alone does not allow what 'full' allows."
    assert beside.message == "attn_mask with is_causal=True does not allow what 'full' allows."
    assert alone.evidence.startswith(
        "6 cells differ: 0 visible that should be hidden, 6 hidden that should be visible;"
    )
    assert alone.fix.endswith("\nis_causal = False")


def test_a_mask_beside_is_causal_hides_as_well_or_is_refused() -> None:
    query, narrow = torch.randn(1, 4, 8), mask("window(1)").allowed(4)
    try:
        made = F.scaled_dot_product_attention(query, query, torch.eye(4)[None], narrow, is_causal=True)[0] > 0
    except RuntimeError as error:
        assert "is_causal" in str(error)  # noqa: PT017  (older and newer versions of torch differ)
    else:
        assert torch.equal(made, mask("window(1) & causal").allowed(4))


def test_without_batch_first_the_batch_is_the_sequence() -> None:
    query = x(2, 5)
    module = layer(batch_first=False)
    assert module(query, query, query)[1].shape == (5, 2, 2)
    finding = check(query_shape=query.shape, batch_size=2, query_len=5, module=module).findings[0]
    assert finding.rule == "batch-first"
    with pytest.raises((RuntimeError, AssertionError)):
        module(query, query, query, key_padding_mask=torch.zeros(2, 5).bool())


def test_dropout_leaves_rows_that_do_not_sum_to_one() -> None:
    made = weights(torch.zeros(L, L).bool(), dropout=0.5)
    sums = made.sum(dim=-1)
    assert (sums - 1).abs().max() > 0.1
    evidence = check(CAUSAL, weights=made, module=layer(dropout=0.5)).of("dropout-weights")[0].evidence
    rows = f"{float(sums.min()):.3g} to {float(sums.max()):.3g}"
    assert evidence == f"dropout = 0.5: kept weights are multiplied by 2; in the weights given the rows sum to {rows}"


def test_rows_of_nan_are_left_out_of_the_sums_that_dropout_gives() -> None:
    made = weights(torch.zeros(L, L).bool(), dropout=0.5)
    made[:, :, 0] = torch.nan
    evidence = check(CAUSAL, weights=made, module=layer(dropout=0.5)).of("dropout-weights")[0].evidence
    assert "nan" not in evidence
    evidence = check(CAUSAL, weights=made * torch.nan, module=layer(dropout=0.5)).of("dropout-weights")[0].evidence
    assert evidence == "dropout = 0.5: kept weights are multiplied by 2"


def test_an_encoder_layer_takes_a_bias_for_a_mask_on_its_fast_path() -> None:
    bias = -(torch.arange(L)[:, None] - torch.arange(L)).abs() / 4
    encoder = torch.nn.TransformerEncoderLayer(16, H, 16, batch_first=True).eval()
    query = x()
    with torch.no_grad():
        fast, hidden = encoder(query, src_mask=bias), encoder(query, src_mask=bias != 0)
    added = encoder(query, src_mask=bias).detach()
    assert torch.equal(fast, hidden)
    assert (fast - added).abs().max() > 0.01
    assert check(bias, num_heads=H).of("bias-in-encoder")


def test_averaging_hides_the_masks_of_heads_and_spreads_nan() -> None:
    per_head = torch.stack([CAUSAL, torch.zeros(L, L).bool()]).repeat(N, 1, 1)
    query = x()
    averaged = layer()(query, query, query, attn_mask=per_head)[1]
    assert (averaged[:, CAUSAL] > 0).all()
    per_head[0, 1] = True
    averaged = layer()(query, query, query, attn_mask=per_head)[1]
    assert averaged[0, 1].isnan().all()
    assert not averaged[1].isnan().any()
    assert check(per_head, num_heads=H).of("fully-masked-rows")[0].where == ((0, 0, 1, None),)


def test_torch_gives_no_nan_and_no_leak_for_what_the_doctor_calls_fine() -> None:
    for text, encoding in itertools.product(("causal", "window(1)", "padding(4, 2)"), ("bool", "float")):
        raw = encode.attn_mask(mask(text), query_len=L, batch_size=N, num_heads=H, encoding=encoding)
        assert check(raw, num_heads=H, intent=text).ok
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made = weights(raw)
        assert torch.equal(made > 0, mask(text).allowed(L, batch_size=N, num_heads=H).expand_as(made))
