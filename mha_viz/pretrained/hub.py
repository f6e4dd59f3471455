"""Whether the Hugging Face hub has a model that may be read, asked once and briefly before anything is downloaded."""

from __future__ import annotations

from typing import Any

from mha_viz.errors import InputError
from mha_viz.pretrained.choice import BUILT_IN
from mha_viz.pretrained.sources import Source, pickled

SECONDS = 10


def check(source: Source) -> None:
    """Refuse a model that the hub does not have or does not give away, or that has no safetensors.

    Without this, transformers would try five times over 20 seconds before it gave up, and would ask a service of the
    hub to convert pickled weights.

    Raises:
        InputError: It can't be read from the hub; the sentence says why, and what to do.
    """
    import huggingface_hub
    from huggingface_hub import errors

    try:
        about = huggingface_hub.HfApi().model_info(source.path, timeout=SECONDS)
    except errors.GatedRepoError:
        raise _refused(f"{source.title} asks its users to log in and accept its terms on the hub first.") from None
    except errors.RepositoryNotFoundError:
        raise _refused(
            f"The Hugging Face hub has no public model {source.title!r}, and no folder has that name."
        ) from None
    except Exception:  # what the network does wrong has as many names as there are HTTP clients
        raise _refused(
            f"Model {source.title!r} is not on this machine, and the Hugging Face hub can't be reached from here: give "
            f"the folder of a model, or choose {BUILT_IN}."
        ) from None
    if not any(name.endswith(".safetensors") for name in _files(about)):
        raise _refused(pickled(source.title))


def _files(about: Any) -> list[str]:
    return [sibling.rfilename for sibling in about.siblings or ()]


def _refused(sentence: str) -> InputError:
    return InputError(sentence, field="model")
