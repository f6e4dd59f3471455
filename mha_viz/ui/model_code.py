"""What the page Your model says while there is nothing to show: how to bring a model."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from mha_viz import pretrained
from mha_viz.pretrained import BUILT_IN
from mha_viz.ui import state
from mha_viz.ui.model_choice import MODEL, WayIn

SNIPPET = """\
import mha_viz as mv

with mv.capture(model) as captured:    # any nn.Module; its output stays the same
    model(x, mask=mask)                # call it as you always do

run = captured.run()                   # one record for each attention call, in call order
print(run.check())                     # what the doctor says of the masks as you passed them
run.save("run.safetensors")            # upload it here, or: mha-viz open run.safetensors
"""
INSTALL = "pip install .    # in a copy of this project"

CAPTURED = """\
**What is captured:** the weights of every head of every `nn.MultiheadAttention` and `nn.Transformer*` layer inside the
model, of `F.scaled_dot_product_attention`, and of attention written out with a softmax, in eval and train mode, with
the masks as they were passed. Weights that the function itself does not return are computed again from its query, key
and mask. Nothing in the model is changed. `mv.capture(model, inside=True)` also keeps what goes in, so that the page
Inside can show every step; a large model can be captured in part:
`mv.capture(model, layers=["encoder.layers.0"], heads=[0], items=[0])`.
"""


def guide() -> None:
    """Show how to capture a model of one's own, and offer the built-in example."""
    st.subheader("See inside your own model", anchor=False)
    st.text("Run this where your model is, then bring the file here. Nothing of your model is executed on this server.")
    st.code(INSTALL, language="bash")
    st.code(SNIPPET, language="python")
    st.markdown(CAPTURED)
    _example("Nothing at hand? A small trained model is built in.")


def no_model() -> None:
    """Say what a pretrained model may be, and offer the built-in example."""
    st.info("Name a model in the sidebar: a folder on this machine, or a name on the Hugging Face hub.")
    _example("Or see one that is built in: it needs no network.")


def no_file() -> None:
    """Say where a run file comes from."""
    st.info("Upload a run file in the sidebar: what run.save('run.safetensors') wrote.")
    st.code(INSTALL, language="bash")
    st.code(SNIPPET, language="python")


def _example(why: str) -> None:
    if pretrained.builtin() is None:
        return
    st.text(why)
    label = "See a trained model read a sentence"
    st.button(label, key="built-in", type="primary", on_click=show_built_in)


def show_built_in() -> None:
    """Make the built-in model the one that is shown."""
    state.put(replace(state.chosen(pretrained.Reading), model=BUILT_IN, image=""), WayIn(MODEL))
