"""The doors: what each kind of argument may be, and the sentence that refuses the rest.

Every public function lets its arguments in through these. Each returns the value as what it means, or
raises a TypeError or ValueError worded by `jaxbp.errors.message`.
"""

from jaxbp.arguments.arrays import array as array
from jaxbp.arguments.floats import as_floats as as_floats
from jaxbp.arguments.numbers import flag as flag
from jaxbp.arguments.numbers import number as number
from jaxbp.arguments.numbers import whole as whole
from jaxbp.arguments.objects import function as function
from jaxbp.arguments.objects import instance as instance
from jaxbp.arguments.objects import key as key
from jaxbp.arguments.objects import option as option
from jaxbp.arguments.objects import params as params
from jaxbp.arguments.objects import path as path
from jaxbp.arguments.texts import json_of as json_of
from jaxbp.arguments.words import described as described
