"""Run in .venv-bench, where the peers are: `python html.py PEER FOLDER ROUNDS` writes a peer's pages.

For each FOLDER/weights-R.npy, float32 [1, H, L, L], it writes FOLDER/PEER-R.html and prints one line of JSON with the
seconds of the peer's own call. Imports, reading the weights and writing the file do not count. Nothing of this project
is imported: what a peer takes is its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

Draw = Callable[[torch.Tensor, list[str]], str]


def bertviz() -> Draw:
    from bertviz import head_view

    return lambda weights, tokens: str(head_view([weights], tokens, html_action="return").data)


def circuitsvis() -> Draw:
    from circuitsvis.attention import attention_heads

    # By default it hides the upper triangle, also of attention that is not causal.
    return lambda weights, tokens: str(
        attention_heads(attention=weights[0], tokens=tokens, mask_upper_tri=False).local_src
    )


def inspectus() -> Draw:
    import inspectus as library
    from IPython import display

    shown: list[str] = []
    display.display = lambda *objects, **_: shown.extend(item.data for item in objects)

    def draw(weights: torch.Tensor, tokens: list[str]) -> str:
        shown.clear()
        library.attention(weights, tokens)
        return "".join(shown)

    return draw


def treescope() -> Draw:
    import treescope as library

    def draw(weights: torch.Tensor, tokens: list[str]) -> str:
        labels: dict[int, Any] = {1: tokens, 2: tokens}
        return str(library.render_array(weights[0].numpy(), axis_item_labels=labels, sliders=[0])._repr_html_())

    return draw


PEERS = {"bertviz": bertviz, "circuitsvis": circuitsvis, "inspectus": inspectus, "treescope": treescope}


def main(peer: str, folder: Path, rounds: int) -> None:
    draw = PEERS[peer]()
    draw(torch.softmax(torch.randn(1, 8, 16, 16), -1), [f"tok{i}" for i in range(16)])  # what it does once only
    for number in range(rounds):
        weights = torch.from_numpy(np.load(folder / f"weights-{number}.npy"))
        tokens = [f"tok{i}" for i in range(weights.shape[-1])]
        print("begin", flush=True)
        start = time.perf_counter()
        body = draw(weights, tokens)
        seconds = time.perf_counter() - start
        text = f'<!doctype html><html><head><meta charset="utf-8"></head><body>{body}</body></html>'
        (folder / f"{peer}-{number}.html").write_text(text, encoding="utf-8")
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
