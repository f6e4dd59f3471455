"""Heavy work on a Ray cluster: where that is, and functions of this package that run there, whatever they compute.

Ray ends a process that loses its cluster or the node on its own machine, so it is never loaded in this one: `gateway`
starts a process of its own for it, `relay` is what runs there, and `node` what runs on the cluster.
"""

from mha_viz.cluster.gateway import Gateway, disconnect, joined
from mha_viz.cluster.head import VARIABLE, address
from mha_viz.cluster.messages import Array

__all__ = ["VARIABLE", "Array", "Gateway", "address", "disconnect", "joined"]
