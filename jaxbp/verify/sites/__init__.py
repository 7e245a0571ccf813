"""Where rules stand: f as a flat function, the inputs that reach each rule, and what tracing hides."""
