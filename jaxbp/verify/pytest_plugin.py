"""The ``check_rules`` fixture by the name that it had before: see `jaxbp_pytest`."""

from jaxbp_pytest import check_rules as check_rules
