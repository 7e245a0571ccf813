"""Every tolerance of the checker: the numbers that a verdict or a cause hangs on, each with its reason.

A part without a unit is relative. tests/verify/test_tolerances.py has, for each, a case that gets another
answer when it is halved or doubled; so every module reads them here, as attributes of this one.
"""

# What two right results may differ by.

DIGITS = 0.5
"""Two right ways to compute a derivative agree to this part of the digits of their dtype."""
ITERATED_DIGITS = 0.25
"""To this part where a loop stops by a test and nobody knows how far from its limit."""
ROUNDINGS = 4
"""A value is known to so many of its last digits."""
NOISE = 64
"""Rounding may move an entry by so many times what a random change of the last digits of the inputs did."""
COVER = 10.0
"""An estimate of an error may be so many times too small: of difference quotients (ten times their estimate
covered every one of 240 draws on twelve functions), of the rounding of each operation."""
BEYOND = 8.0
"""Of many entries, none is moved so many times as far by one change of last digits as any by another."""
STEPPED_OVER = 0.1
"""Noise that is a larger part of its entry comes from a kink that was stepped over, and excuses nothing."""
UNEQUAL = 1e3
"""Where a rule is compared with itself, it may be off by so many roundings of the largest entry."""
CANCELLED = 1e-2
"""There no argument's largest entry counts as less than this part of the largest of all: a slope of 0, as
that by a bias ahead of a norm, is a sum that cancels, and has the rounding of what is added."""
OVERFLOW = 0.1
"""A result beyond this part of the dtype's largest number may overflow on the way in a right rule too."""

# What iterations leave open.

STRAYED = 0.2
"""A loop that changes its values by a larger part when it runs on is no iteration to a limit."""
SHRINKS = 0.5
"""An iteration to a limit that makes as many steps again moves by this part of what it moved before."""
UNSETTLED = 2
"""What a loop leaves open is so many times what running on changes."""

# What difference quotients know.

SURE = 1e-3
"""A difference quotient with an error below this part says whether a derivative is right."""
SETTLED = 0.1
"""One with an error below this part says that there is a finite derivative."""

# What explains a wrong result.

REPRODUCED = 1e-6
"""A mistake explains the rule when its result agrees to this part of each entry, if the dtype allows it."""
SMALL_ENTRY = 1e-3
"""An entry below this part of the largest is compared as if it were as large as that part."""
LOOSER = 10
"""A tolerance is so many times as wide for what is made of several results, each with an error of its own."""
LEFT = 0.01
"""A mistake explains a wrong entry when it leaves less than this part of its error."""
SAME = 1e-6
"""Two constants that differ by less are the same number: 2, -1, the length of an axis."""
NOTHING = 1e-9
"""What is below this part of the rest is taken for zero."""
LOW_RANK = 3
"""An absent term shows as a difference whose rank is that many times lower than that of the derivative."""
NEARLY_CONSTANT = 2e-3
"""Factors that vary by less than this part are called about one constant."""
ROUGHLY = 0.03
"""A rule that is right to this part is called an approximation."""
