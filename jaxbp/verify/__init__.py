"""Find out whether a derivative rule is right, where it is wrong, and why.

| row | place | what it holds |
|---|---|---|
| 0 | `report` | findings and the report, as text, HTML and plain data |
| 0 | `maps/` | the two maps that are compared at a rule: its own pullback, autodiff of its primal |
| 1 | `sites/` | f as a flat function, the inputs that reach each rule, and what tracing hides |
| 1 | `numbers/` | how far a right result may be off, differences, the comparison entry by entry |
| 2 | `causes/` | why a rule is wrong: the mistakes that people make |
| 3 | `clauses/` | what every right rule keeps besides its values; rules that are no derivative on purpose |
| 4 | `judge` | one rule at the inputs that reached it |
| 5 | `own_precision`, `whole_function` | the rule as the user runs it; f as a whole |
| 6 | `check` | all of them, for any function |
| 7 | `plain`, `command`, `pytest_plugin` | rules that are plain functions; the shell; the fixture |
| 7 | `network` | `check_network`, the only file that knows layers |
"""

from jaxbp.verify.check import assert_rules as assert_rules
from jaxbp.verify.check import check as check
from jaxbp.verify.network import NetworkReport as NetworkReport
from jaxbp.verify.network import check_network as check_network
from jaxbp.verify.plain import check_jvp as check_jvp
from jaxbp.verify.plain import check_vjp as check_vjp
from jaxbp.verify.report import Finding as Finding
from jaxbp.verify.report import Report as Report
