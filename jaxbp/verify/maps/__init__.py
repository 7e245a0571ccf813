"""The two maps that are compared at a rule: its own pullback, and autodiff of its primal body."""
