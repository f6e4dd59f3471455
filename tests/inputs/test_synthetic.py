from __future__ import annotations

import ast
import inspect
import math

import pytest
import torch

from mha_viz.errors import InputError
from mha_viz.inputs.synthetic import SOURCES, labels, sinusoidal, source

every_source = pytest.mark.parametrize("name", SOURCES)


def made(name: str, batch: int = 2, length: int = 9, dim: int = 6, seed: int = 0) -> torch.Tensor:
    return SOURCES[name].function(batch, length, dim, torch.Generator().manual_seed(seed))


@every_source
@pytest.mark.parametrize(("batch", "length", "dim"), [(1, 1, 1), (2, 9, 6), (3, 5, 7), (1, 2, 1), (2, 40, 3)])
def test_a_source_gives_the_shape_asked_for_in_float32(name: str, batch: int, length: int, dim: int) -> None:
    tensor = made(name, batch, length, dim)
    assert tensor.shape == (batch, length, dim)
    assert tensor.dtype == torch.float32
    assert tensor.device.type == "cpu"
    assert tensor.isfinite().all()
    assert len(labels(name, length)) == length


@every_source
def test_a_source_depends_on_its_generator_alone(name: str) -> None:
    torch.manual_seed(1)
    first = made(name)
    torch.manual_seed(2)
    assert torch.equal(first, made(name))
    assert torch.equal(first, made(name, seed=1)) == (name in {"one_hot", "positional"})


@every_source
def test_a_source_ignores_the_default_dtype(name: str) -> None:
    expected = made(name)
    torch.set_default_dtype(torch.float64)
    try:
        tensor = made(name)
    finally:
        torch.set_default_dtype(torch.float32)
    assert tensor.dtype == torch.float32
    assert torch.equal(tensor, expected)


@every_source
def test_the_source_text_runs_on_its_own_with_torch_and_math(name: str) -> None:
    function = SOURCES[name].function
    assert not ast.parse(inspect.getsource(function)).body[0].decorator_list  # type: ignore[attr-defined]
    names: dict[str, object] = {"torch": torch, "math": math}
    for part in (sinusoidal, function):
        exec(inspect.getsource(part), names)
    alone = names[function.__name__](2, 9, 6, torch.Generator().manual_seed(0))  # type: ignore[operator]
    assert torch.equal(alone, made(name))


@every_source
def test_a_source_says_what_it_is(name: str) -> None:
    entry = source(name)
    assert entry.name == name
    assert entry.summary
    assert entry.help.endswith(".")
    assert entry.function.__doc__


@pytest.mark.parametrize(("length", "dim"), [(1, 1), (5, 2), (7, 5), (12, 8), (3, 64)])
def test_sinusoidal_is_the_formula_of_the_paper(length: int, dim: int) -> None:
    table = sinusoidal(length, dim)
    for position in range(length):
        for column in range(dim):
            angle = position / 10000 ** (2 * (column // 2) / dim)
            wanted = math.sin(angle) if column % 2 == 0 else math.cos(angle)
            assert table[position, column].item() == pytest.approx(wanted, abs=1e-6)


def test_normal_has_mean_0_and_deviation_1() -> None:
    tensor = made("normal", 4, 200, 50)
    assert abs(tensor.mean()) < 0.02
    assert abs(tensor.std() - 1) < 0.02


def test_uniform_fills_0_to_1() -> None:
    tensor = made("uniform", 4, 200, 50)
    assert tensor.min() >= 0
    assert tensor.max() < 1
    assert abs(tensor.mean() - 0.5) < 0.01


def test_one_hot_has_its_1_at_the_position_modulo_dim() -> None:
    tensor = made("one_hot", 2, 9, 4)
    for position in range(9):
        assert tensor[:, position].tolist() == [[float(column == position % 4) for column in range(4)]] * 2


def test_repeated_rows_are_equal_exactly_where_labels_are() -> None:
    rows, names = made("repeated", 1, 11, 6)[0], labels("repeated", 11)
    assert names == list("ABCDABCDABC")
    for i in range(11):
        for j in range(11):
            assert torch.equal(rows[i], rows[j]) == (names[i] == names[j])


@pytest.mark.parametrize("length", range(1, 14))
def test_cluster_labels_count_up_in_consecutive_runs(length: int) -> None:
    names = labels("clusters", length)
    runs = ["".join(name[0] for name in names).count(letter) for letter in "abc"]
    assert names == [f"{letter}{i + 1}" for letter, size in zip("abc", runs, strict=True) for i in range(size)]
    assert max(runs) - min(runs) <= 1


def test_tokens_of_one_cluster_are_nearer_than_tokens_of_two() -> None:
    rows, names = made("clusters", 1, 30, 32)[0], labels("clusters", 30)
    distance = torch.cdist(rows, rows)
    same = torch.tensor([[a[0] == b[0] for b in names] for a in names])
    assert distance[same].max() < distance[~same].min()


def test_the_other_sources_number_their_tokens() -> None:
    assert labels("normal", 3) == ["0", "1", "2"]


def test_an_unknown_source_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(InputError) as caught:
        labels("cluster", 3)
    assert str(caught.value) == (
        "source must be one of normal, uniform, one_hot, positional, repeated, clusters, not 'cluster': "
        "did you mean 'clusters'?"
    )
    with pytest.raises(InputError, match=r"not '000'\.$"):
        source("000")
