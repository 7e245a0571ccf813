"""Find out whether a derivative rule is right, where it is wrong, and why."""

from jaxbp.verify.check import assert_rules as assert_rules
from jaxbp.verify.check import check as check
from jaxbp.verify.network import NetworkReport as NetworkReport
from jaxbp.verify.network import check_network as check_network
from jaxbp.verify.plain import check_jvp as check_jvp
from jaxbp.verify.plain import check_vjp as check_vjp
from jaxbp.verify.report import Finding as Finding
from jaxbp.verify.report import Report as Report
