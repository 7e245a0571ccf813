"""Find out whether a derivative rule is right, where it is wrong, and why.

| row | place | what it holds |
|---|---|---|
| 0 | `report` | findings and the report, as text, HTML and plain data |
| 0 | `tolerances` | every tolerance, each with its reason |
| 0 | `clock` | how much time a rule and all of them may take |
| 1 | `maps/` | the two maps that are compared at a rule: its own pullback, autodiff of its primal |
| 2 | `sites/` | f as a flat function, the inputs that reach each rule, and what tracing hides |
| 2 | `numbers/` | how far a right result may be off, differences, the comparison entry by entry |
| 3 | `trial` | a rule beside its primal at one site, in one precision |
| 4 | `causes/` | why a rule is wrong: the mistakes that people make |
| 5 | `clauses/` | what every right rule keeps besides its values; rules that are no derivative on purpose |
| 6 | `judge` | one rule at the inputs that reached it |
| 7 | `own_precision`, `whole_function` | the rule as the user runs it; f as a whole |
| 8 | `in_f` | what f as a whole says of its rules |
| 9 | `check` | all of them, for any function |
| 10 | `plain` | rules that are plain functions |
| 11 | `pytest_plugin` | the fixture |
"""

from jaxbp.verify.check import assert_rules as assert_rules
from jaxbp.verify.check import check as check
from jaxbp.verify.plain import check_jvp as check_jvp
from jaxbp.verify.plain import check_vjp as check_vjp
from jaxbp.verify.report import Finding as Finding
from jaxbp.verify.report import Report as Report
