"""Recurrence: one layer at every place of a sequence, with what it carries from place to place."""

from jaxbp.layers.recurrence.cells import elman as elman
from jaxbp.layers.recurrence.cells import gru as gru
from jaxbp.layers.recurrence.cells import lstm as lstm
from jaxbp.layers.recurrence.char_rnn import char_rnn as char_rnn
