"""Walk, evaluate and rewrite jaxprs: the only place that knows JAX's internals.

| row | file | what it holds |
|---|---|---|
| 0 | `internals` | everything of JAX's own that is relied on, an accessor each |
| 0 | `messages` | what JAX says in its errors |
| 1 | `walk` | evaluate a jaxpr equation by equation; what is in it, at any depth |
| 1 | `exception_origin` | who raised an exception: a rule, JAX, or the package itself |
| 2 | `rules` | the derivative rules in a jaxpr: which, whose, where defined and where used |
| 3 | `inline` | rules, jit and remat written out |
| 4 | `compile_once` | the same mathematics compiled once |
| 4 | `shard_map` | parts of a shard_map run on its mesh |
| 4 | `last_digits` | every operation moved by its last digit |
| 5 | `loops` | scan and while taken apart: capped, run on, unrolled |
| 6 | `values/` | the values inside: seen, moved, named, searched for what is not finite |
| 6 | `widest_dtype` | every operation in the widest dtype |
"""
