"""Attention over long sequences: exact weights of any part, pooled pictures and statistics, in fixed memory."""

from mha_viz.attention.streamed.scenarios import streamed
from mha_viz.attention.streamed.weights import StreamedAttention
from mha_viz.attention.streamed.workers import Stopped

__all__ = ["Stopped", "StreamedAttention", "streamed"]
