"""The command line."""

from jaxbp.cli.main import main as main
from jaxbp.cli.settings import Check as Check
from jaxbp.cli.settings import Diagnose as Diagnose
from jaxbp.cli.settings import Train as Train
