"""The parts of a generated test file that are the same, or nearly, for every mask.

Braces that stand in the generated code are doubled where a part is filled in by `str.format`.
"""

MHA_INPUTS = '''
def inputs():
    """Return query [N, L, E] and key [N, S, E]."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(N, L, E, generator=generator{dtype})
    key = {key}
    return query, key
'''

SDPA_INPUTS = '''
def inputs():
    """Return query [N, H, L, 8] and key [N, H, S, 8]."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(N, H, L, 8, generator=generator{dtype})
    key = torch.randn(N, H, S, 8, generator=generator{dtype})
    return query, key
'''

MHA_ATTENTION = '''
def attention(query, key, training=True, need_weights=True):
    """Return output [N, L, E] and weights [N, H, L, S] of a real layer; in eval mode without gradients."""
    attn_mask, key_padding_mask, is_causal, batch_first = given()
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(E, H, batch_first=batch_first{options}, dtype={dtype}).train(training)
    try:
        with torch.set_grad_enabled(training):
            output, weights = layer(
                query,
                key,
                key,
                key_padding_mask=key_padding_mask,
                need_weights=need_weights,
                attn_mask=attn_mask,
                average_attn_weights=False,
                is_causal=is_causal,
            )
    except Exception as error:
        raise AssertionError(f"torch refuses the call: {{error}}") from error
    return output.detach(), weights[..., :S].detach() if need_weights else None
'''

SDPA_ATTENTION = '''
def attention(query, key):
    """Return output, which is weights [N, H, L, S] as well: each value says which key it belongs to."""
    attn_mask, key_padding_mask, is_causal, _ = given()
    others = {} if key_padding_mask is None else {"key_padding_mask": key_padding_mask}
    value = torch.eye(S, dtype=query.dtype).expand(N, H, S, S)
    try:
        output = F.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask, is_causal=is_causal, **others)
    except Exception as error:
        raise AssertionError(f"torch refuses the call: {error}") from error
    return output, output
'''

PLACES = '''
def places(found):
    """Return the first positions where a tensor is True."""
    return found.nonzero().tolist()[:5]
'''

TEST_WEIGHTS = """
def test_the_weights_are_where_they_should_be():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Support for mismatched")
        _, weights = attention(*inputs())
    assert weights.shape == (N, H, L, S), f"the weights have the shape {list(weights.shape)}"
    assert not weights.isnan().any(), f"NaN in the rows (batch, head, query) {places(weights.isnan().any(-1))}"
    may = allowed()
    some = may.any(-1, keepdim=True)  # a query that may see nothing may see anything
    leaks = ~may & some & (weights > 0)
    assert not leaks.any(), f"weight where it is forbidden, (batch, head, query, key) {places(leaks)}"
    blind = may & (weights == 0)
    assert not blind.any(), f"no weight where it is allowed, (batch, head, query, key) {places(blind)}"
"""

TEST_PATHS = '''
@pytest.mark.parametrize(("training", "need_weights"), [(True, True), (True, False), (False, False)])
def test_every_path_sees_what_is_allowed(training, need_weights):
    """Change one key after the other and look which outputs move."""
    query, key = inputs()
    before, _ = attention(query, key, training, need_weights)
    assert not before.isnan().any(), f"NaN in the outputs (batch, query) {places(before.isnan().any(-1))}"
    may = allowed().any(1)  # [N, L, S], by any head
    for k in range(0, S, max(1, S // 32)):
        changed = key.clone()
        changed[:, k] = 2 - changed[:, k]
        after, _ = attention(changed if key is query else query, changed, training, need_weights)
        moved = (after - before).abs().amax(-1) > (1e-5 if before.dtype in (torch.float32, torch.float64) else 1e-2)
        if key is query:
            moved[:, k] = may[:, k, k]  # its own query has changed as well
        wrong = (moved != may[:, :, k]) & may.any(-1)
        assert not wrong.any(), f"key {k} reaches, or misses, the outputs (batch, query) {places(wrong)}"
'''

TEST_ONE_MASK = """
def test_one_mask_is_given():
    attn_mask, _, is_causal, _ = given()
    assert attn_mask is None or not is_causal, "attn_mask and is_causal=True together are an error in some releases"
"""
