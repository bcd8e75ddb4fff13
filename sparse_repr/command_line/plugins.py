"""`--plugin FILE.py`: a script that registers entries of its own before a command looks for them."""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from sparse_repr.command_line.words import take_option

PLUGIN_HELP = """--plugin FILE.py, or MODULE, is loaded first: there you register data sets, objectives, networks and
scores of your own. Repeat the option for several."""

_loaded: dict[str, ModuleType] = {}
_loading: list[str] = []
_GUARD = "put what is to run only as a program under `if __name__ == '__main__':`"


def take_plugins(arguments: Sequence[str] | None) -> list[str]:
    """Load what --plugin names, each once, and return the other words.

    Args:
        arguments: of the command line; None takes those of the process.

    Raises:
        ValueError: there is no such file or module, it cannot be loaded, or it is itself a command.
    """
    names, others = take_option(sys.argv[1:] if arguments is None else arguments, "--plugin")
    if "" in names:
        raise ValueError("--plugin needs a Python file or a module, such as mine.py")
    load_plugins(names)
    return others


def load_plugins(names: Sequence[str]) -> None:
    """Load Python files and modules that register entries of their own; what is loaded stays as it is.

    Args:
        names: files, which end in ``.py``, or modules.

    Raises:
        ValueError: as `take_plugins`.
    """
    for name in names:
        key = str(Path(name).resolve()) if name.endswith(".py") else name
        if key not in _loaded:
            _loading.append(name)
            try:
                _loaded[key] = _load_file(Path(key)) if name.endswith(".py") else importlib.import_module(name)
            except (Exception, SystemExit) as error:
                raise ValueError(f"--plugin {name} could not be loaded: {_in_words(key, error)}") from error
            finally:
                _loading.pop()


def loaded_plugins() -> tuple[str, ...]:
    """Absolute files, and modules, that were loaded: what a new process needs to know the same entries."""
    return tuple(_loaded)


def plugin_words(*, is_program: bool) -> list[str]:
    """The options that let another command know the same entries: --plugin for each, and for the script at work.

    Args:
        is_program: the command line is that of the process, so that a script around it registers entries of its own.
    """
    script = Path(sys.argv[0])
    # `python mine.py` registers and is the command line; of `python -m` the name is that of a file of ours
    own = [str(script)] if is_program and script.suffix == ".py" and script.name != "__main__.py" else []
    return [word for name in (*own, *_loaded) for word in ("--plugin", name)]


def require_not_imported() -> None:
    """A command must not start while a file that holds it is only read for its entries.

    Raises:
        ValueError: `load_plugins` reads it.
        SystemExit: a new process of multiprocessing imports it.
    """
    if _loading:
        raise ValueError(f"it starts a command itself: {_GUARD}")
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing's own check has it
        raise SystemExit(f"error: a new process imports {sys.argv[0]}, which starts a command again: {_GUARD}")


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None  # of a name that ends in .py
    module = importlib.util.module_from_spec(spec)
    known = sys.modules.get(path.stem)
    if known is not None:
        raise ImportError(f"a module {path.stem} is there already, {getattr(known, '__file__', None)}: rename the file")
    sys.modules[path.stem] = module  # dataclasses look their module up, and so does pickle
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # what lies beside a script is found by it, and hides nothing here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def _in_words(key: str, error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ends the program: {_GUARD}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == key]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{error}{where}" if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {error}{where}"
