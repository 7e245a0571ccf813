"""The one place where sentences of the library become those of the command line: flags, not Python."""

import re
from dataclasses import fields

from jaxbp.cli.settings import Train, flag

_NAMES = [field.name for field in fields(Train)]
_BOOLS = [field.name for field in fields(Train) if field.type is bool]
_GIVEN = re.compile(rf"\b({'|'.join(_NAMES)})=(\[[^\]]*\]|'[^']*'|[^\s,;)]*)")
_NAMED = re.compile(rf"(?<![-\w])({'|'.join(name for name in _NAMES if '_' in name)})\b")
# Arguments whose names are words of every sentence, where one of them is asked for.
_ASKED = re.compile(rf"(?<=: expected )({'|'.join(_NAMES)})(?= (?:a|an|to be|True|one of) | ')")
# What only Python can do, by what gives it away in a hint, and what a user of the command can do.
_REMEDIES = (
    ("num_classes", "number the classes 0, 1, 2, ... in the file"),
    ("astype(np.int32)", "store y as whole numbers for classes"),
    ("x.astype", "store x as float32, bytes divided by 255"),
    ("preprocess", "store x as float32, bytes divided by 255"),
    ("read_idx", "of other files, store x and y as an .npz"),
    ("jax.config", "rescale these values"),
    ("jax.", ""),
    ("np.", ""),
)


def as_flags(text: str) -> str:
    """A message of the library with the flags of `jaxbp train` in it.

    Example:
        >>> as_flags("mnist: expected files, got neither; give data_dir=, or download=True")
        'mnist: expected files, got neither; give --data-dir, or --download'
        >>> as_flags("fit: expected a batch_size in 1..9, got 10; drop=['id', 'city'], header=False")
        'fit: expected a --batch-size in 1..9, got 10; --drop id city, --header False'
        >>> as_flags("load(t.csv): expected label a whole number in [-4, 3], got 99")
        'load(t.csv): expected --label a whole number in [-4, 3], got 99'
    """
    sentence, *hints = text.split("; ")
    said: list[str] = [sentence]
    for hint in hints:
        words = next((words for telltale, words in _REMEDIES if telltale in hint), hint)
        if words and words not in said:
            said.append(words)
    text = _GIVEN.sub(_given, "; ".join(said))
    for names in (_NAMED, _ASKED):
        text = names.sub(lambda found: flag(found[1]), text)
    return text


def _given(found: re.Match[str]) -> str:
    name, value = found[1], found[2]
    value = value.strip("'") if value[:1] == "'" else value.replace(",", "").replace("'", "").strip("[]")
    if name in _BOOLS:
        return flag(name) if value != "False" else flag(f"no_{name}")
    return f"{flag(name)} {value}".rstrip()
