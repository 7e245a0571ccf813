"""Verification of derivative rules."""

from jaxbp.verify.network import NetworkReport as NetworkReport
from jaxbp.verify.network import check_network as check_network
