"""Learned denoising-based message passing: D-AMP with networks, as a network."""

from zoo.models.ldamp.network import LdampNetwork, ldamp
from zoo.models.ldamp.pretrained import pretrained
from zoo.models.ldamp.training import train

__all__ = ["LdampNetwork", "ldamp", "pretrained", "train"]
