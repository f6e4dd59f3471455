"""The sidebar of the Compare page: what differs first, then each side as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from mha_viz import settings
from mha_viz.errors import MhaVizError
from mha_viz.inputs.assemble import sizes
from mha_viz.ui import cached, compare_presets, compare_sides, controls, model_file, state
from mha_viz.ui.compare_presets import Base
from mha_viz.ui.compare_sides import NAMES
from mha_viz.ui.origin import RunFile
from mha_viz.ui.pair import EXPLORE, KINDS, Pair, Place, Side

NOT_OFFERED = {"query_file", "key_file", "value_file", "image", "device"}
OWN = "something else"
LABELS = {"explore": "Explore's settings", "file": "run file", "model": "pretrained model"}


def sidebar() -> None:
    """Draw the controls of the Compare page."""
    sides = _pair().sides
    with st.sidebar:
        _presets(sides)
        apart, alike = _named(sides)
        for name in apart:
            for side, which in zip(sides, NAMES, strict=True):
                _control(name, side, f"{which}: ", (which,))
        for name in alike:
            _control(name, sides[0], "both: ", NAMES)
        _another(sides)
        box = st.expander("The two sides as text", key="group:sides", on_change="rerun")
        if box.open:
            with box:
                for which in NAMES:
                    _as_text(which)
        st.button("Swap left and right", on_click=_swap, width="stretch")
        controls.history()


def _pair() -> Pair:
    return compare_sides.asked(state.chosen)


def _swap() -> None:
    pair = _pair()
    state.put(Pair(pair.right, pair.left))


def _presets(sides: tuple[Side, Side]) -> None:
    """Draw the list of what can be compared; it shows the one that the sides are, if they are one."""
    of = sides[0].place.of if sides[0].kind is sides[1].kind else EXPLORE
    made = compare_presets.pairs(_base(of))
    now = next((name for name, pair in made.items() if pair == _pair()), OWN)
    st.session_state["w:compare"] = now

    def choose() -> None:
        picked = st.session_state["w:compare"]
        if picked in made:
            state.put(made[picked])

    options = [*made] if now in made else [OWN, *made]
    st.selectbox("compare", options, key="w:compare", on_change=choose, help="What differs between the two sides.")


def _base(of: str) -> Base:
    """Return what the session has of a source; a run is asked for only where it is at hand."""
    s = state.scenario()
    try:
        if of == EXPLORE:
            return Base(s, of, items=sizes(s).batch_size)
        run = cached.run(state.chosen(KINDS[of]))
    except MhaVizError:
        return Base(s, of)
    return Base(s, of, len(run.layers), run.layers[0].weights.shape[0])


def _named(sides: tuple[Side, Side]) -> tuple[list[str], list[str]]:
    """Return the names of what differs or is named on one side alone, and of what both sides name alike."""
    apart = list(compare_sides.differing(*sides, state.chosen))
    if sides[0].kind is not sides[1].kind:
        return apart, []
    left, right = (side.changes.keys() for side in sides)
    names = settings.metadata(sides[0].kind)
    apart += [name for name in names if name in left ^ right and name not in apart]
    return apart, [name for name in names if name in left & right and name not in apart]


def _control(name: str, side: Side, label: str, whose: tuple[str, ...]) -> None:
    """Draw the control of one setting of one side, or of both."""
    of = Place if name in settings.metadata(Place) else side.kind
    value = getattr(side.place, name) if of is Place else compare_sides.value(side, name, state.chosen)
    if name == "head":
        _control("average", side, label, whose)
        if side.place.average:
            return
    if value is None and name in compare_sides.PLACES:
        value = getattr(state.view(), name)
    key = f"w:{'-'.join(whose)}:{name}"
    if of is RunFile:
        current, label = RunFile(value), f"{label}run file"
        model_file.uploader(label, key=key, current=current, take=lambda file: _put(whose, run_file=file.run_file))
        return

    def commit() -> None:
        _put(whose, **{name: st.session_state[key]})

    st.session_state[key] = value
    field(of, name, label=label + (settings.metadata(of)[name].label or name), key=key, commit=commit)


def _put(whose: tuple[str, ...], **values: Any) -> None:
    """Change one side, or both."""
    sides = dict(zip(NAMES, _pair().sides, strict=True))
    try:
        changed = {which: str(sides[which].but(**values)) for which in whose}
    except MhaVizError as error:
        state.refuse(str(error))
    else:
        state.bring(Pair, **changed)


def field(of: type, name: str, *, label: str, key: str, commit: Callable[[], None]) -> None:
    """Draw the control of a field of a settings class, whose value stands in the session under `key`."""
    about, (kind, _) = settings.metadata(of)[name], settings.kinds(of)[name]
    common: dict[str, Any] = {"label": label, "key": key, "help": about.help, "on_change": commit}
    if kind is bool:
        st.checkbox(**common)
    elif about.choices:
        st.selectbox(options=about.choices, format_func=_labelled, **common)
    elif kind in (int, float):
        low, high = kind(about.low or 0), kind(about.high or 0)
        st.number_input(
            min_value=low, max_value=high, step=1 if kind is int else 0.05, placeholder="automatic", **common
        )
    elif about.lines > 1:
        st.text_area(height=34 + 24 * about.lines, max_chars=about.max_chars, **common)
    else:
        st.text_input(max_chars=about.max_chars, **common)


def _labelled(choice: str) -> str:
    return LABELS.get(choice, choice)


def _another(sides: tuple[Side, Side]) -> None:
    """Offer the other settings, where both sides come from the same."""
    of = sides[0].kind
    if of is not sides[1].kind or of is RunFile:
        return
    known = {**sides[0].changes, **sides[1].changes}
    shown = [name for name in settings.metadata(of) if name not in known and name not in NOT_OFFERED]
    st.session_state["w:another"] = None

    def choose() -> None:
        if (name := st.session_state["w:another"]) is not None:
            _put(("right",), **{name: _other(of, name, compare_sides.value(sides[1], name, state.chosen))})

    label = "Let another setting differ"
    st.selectbox(
        label, shown, index=None, key="w:another", on_change=choose, placeholder=label, label_visibility="collapsed"
    )


def _other(of: type, name: str, value: Any) -> Any:
    """Return another value for a field where one can be guessed."""
    about = settings.metadata(of)[name]
    if isinstance(value, bool):
        return not value
    if value in about.choices:
        return about.choices[(about.choices.index(value) + 1) % len(about.choices)]
    return value


def _as_text(which: str) -> None:
    """Draw a side as the text that the link holds."""
    about, key = settings.metadata(Pair)[which], f"w:text:{which}"
    st.session_state[key] = getattr(_pair(), which)

    def commit() -> None:
        state.bring(Pair, **{which: st.session_state[key]})

    field(Pair, which, label=about.label or which, key=key, commit=commit)
