"""The entry point: which command, what went wrong in one line, and the exit status."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import jax

import jaxbp
from jaxbp import errors
from jaxbp.cli.console import any_console
from jaxbp.cli.flags import as_flags
from jaxbp.cli.judging import check, diagnose
from jaxbp.cli.judging.targets import refused
from jaxbp.cli.settings import Check, Diagnose, Train, anywhere, flag
from jaxbp.cli.training import run

INTERRUPTED = 130  # as a shell says it of a command that Ctrl-C ended


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of the command `jaxbp`; returns its exit status."""
    given = list(sys.argv[1:] if args is None else args)
    with any_console():
        if given == ["--version"]:
            print(f"jaxbp {jaxbp.__version__}, jax {jax.__version__}")
            return 0
        try:
            config = parsed(given)
            return next(execute(config) for kind, execute in commands().values() if isinstance(config, kind))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        except (ValueError, TypeError, OSError, ImportError) as error:
            print(f"error: {as_flags(_sentence(error))}", file=sys.stderr)
            return 1


def _sentence(error: Exception) -> str:
    """An error as a sentence; what the system says of a file of the user's names no command."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        expected = f"a path that can be used so, {error.filename}"
        return errors.message("jaxbp", expected, error.strerror.lower())
    if isinstance(error, UnicodeEncodeError):
        expected, got = "a system whose paths may have every letter", f"its encoding {error.encoding}"
        return errors.message("jaxbp", expected, got, "PYTHONUTF8=1 sets another")
    return str(error)


def _train(config: Train) -> int:
    from jaxbp.cli.training.train import train  # needs rich

    stopped = train(config)["stopped"]
    return {"diverged": 1, "interrupted": INTERRUPTED}.get(stopped, 0)


def _check(config: Check) -> int:
    if config.explain:
        return check.explain(config.explain)
    if config.json and config.format != "text":
        return refused(_twice("jaxbp check", config.format))
    return check.run(
        config.targets, "json" if config.json else config.format, config.strict, config.require_rules,
        config.seconds, config.total_seconds,
    )  # fmt: skip


def _diagnose(config: Diagnose) -> int:
    if config.explain:
        return diagnose.explain(config.explain)
    if config.json and config.format != "text":
        return refused(_twice("jaxbp diagnose", config.format))
    return diagnose.run(config.targets, "json" if config.json else config.format)


def _twice(where: str, format: str) -> ValueError:
    return ValueError(errors.message(where, "--json or --format", f"both, --format {format}"))


def commands() -> dict[str, tuple[type, Callable[[Any], int]]]:
    """Each command by its name: its settings, and what executes them."""
    from jaxbp.cli import experiments  # needs tyro, as the others do
    from jaxbp.cli.trained import evaluate, predict, report
    from jaxbp.report import explained

    return {
        "train": (Train, _train),
        "predict": (predict.Predict, predict.predict),
        "evaluate": (evaluate.Evaluate, evaluate.evaluate),
        "check": (Check, _check),
        "diagnose": (Diagnose, _diagnose),
        "explain": (explained.Explain, explained.run),
        "report": (report.Report, report.report),
        "experiments": (experiments.Experiments, experiments.experiments),
    }


def parsed(args: list[str]) -> Any:
    """The settings that the arguments ask for; those of a run that is resumed are its own."""
    with errors.needs("tyro and rich", "cli", "jaxbp"):
        import rich as rich
        import tyro

        kinds: dict[str, Callable[..., Any]] = {name: kind for name, (kind, _) in commands().items()}
    own_options = tuple(args[2:]) if args[:1] == ["experiments"] else ()  # what an experiment can be told
    args = args[:2] if own_options else args
    for before, word in zip(["jaxbp", *args], args, strict=False):
        if not word or (word.startswith("--") and word.endswith("=")):  # a path of "" is the folder one is in
            place = before if not word else word.rstrip("=")
            raise ValueError(errors.message("jaxbp", f"a value after {place}", "an empty text"))
    config = tyro.extras.subcommand_cli_from_dict(
        kinds,
        prog="jaxbp",
        description=f"{(jaxbp.__doc__ or '').splitlines()[0]} jaxbp --version says which.",
        args=args,
        config=(tyro.conf.PositionalRequiredArgs,),
    )
    if own_options:
        return replace(config, options=own_options)
    if not isinstance(config, Train) or config.resume is None:
        return config
    own = replace(run.settings(config.resume), resume=config.resume)
    asked = anywhere(tyro.cli(Train, prog="jaxbp train", args=args[1:], default=own))
    for field in fields(Train):
        if (then := getattr(own, field.name)) != (now := getattr(asked, field.name)):
            expected = f"{flag(field.name)} {then}, with which {config.resume} was started"
            raise ValueError(errors.message("jaxbp train --resume", expected, f"{now}", "leave the flag out"))
    return own
