"""The worker behind `chat_template`: renders chat templates in jinja2's immutable sandbox, within
bounds.

Run as a script; imports nothing of ours and not transformers, whose template environment it repeats
(a test compares the two). Reads lines of JSON (`template`, `messages`, `variables`,
`most_characters`, `seconds`, `most_bytes`), answers `{"text": ...}` or `{"error": ..., "whole":
...}`, where `whole` says that the template itself is at fault and no other conversation would fare
better. Processor time above `seconds` ends the process by SIGPROF, in whatever it is.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib.metadata
import json
import re
import resource
import signal
import sys
from typing import Any

OLDEST_JINJA = (3, 1, 6)
"""Older ones have known ways out of the sandbox."""


def render(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request; whatever the template does within its bounds is a sentence in
    it."""
    try:
        return _rendered(request)
    except MemoryError:
        return _fault(f"needs more than {request['most_bytes'] >> 20:,} MiB of memory", whole=True)
    except RecursionError:
        return _fault("calls itself without end", whole=True)
    except OverflowError as error:
        return _fault(f"asks for too much: {error}", whole=True)
    except UnicodeEncodeError as error:
        half = f"U+{ord(error.object[error.start]):04X}"
        return _fault(f"writes half a surrogate pair ({half}), which is not text")
    except Exception as error:
        return _fault_of_template(error)


def _rendered(request: dict[str, Any]) -> dict[str, Any]:
    template = compiled(request["template"])
    pieces: list[str] = []
    length = 0
    for piece in template.generate(
        messages=request["messages"],
        tools=None,
        documents=None,
        add_generation_prompt=True,
        **request["variables"],
    ):
        pieces.append(piece)
        length += len(piece)
        if length > request["most_characters"]:
            return _fault(f"writes more than {request['most_characters']:,} characters", whole=True)
    text = "".join(pieces)
    text.encode()
    return {"text": text}


def _fault_of_template(error: Exception) -> dict[str, Any]:
    """Of an error that jinja2 or the template raised: a program we did not write, so whatever it is
    becomes one sentence."""
    import jinja2
    from jinja2.exceptions import SecurityError

    if isinstance(error, jinja2.TemplateSyntaxError):
        return _fault(f"has a syntax error in line {error.lineno}: {error.message}", whole=True)
    if isinstance(error, SecurityError):
        return _fault(f"asks for what a template may not have: {error}", whole=True)
    if isinstance(error, jinja2.UndefinedError):
        return _fault(f"uses what is not there: {error}")
    if isinstance(error, jinja2.TemplateError):
        return _fault(f"refuses: {error}")
    return _fault(f"fails with {type(error).__name__}: {error}")


def _fault(what: str, *, whole: bool = False) -> dict[str, Any]:
    return {"error": " ".join(what.split())[:500], "whole": whole}


@functools.lru_cache(maxsize=4)
def compiled(source: str) -> Any:
    """The template in an environment that behaves as transformers' `_compile_jinja_template` makes
    it."""
    import jinja2.ext
    import jinja2.utils
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """`{% generation %}` marks what an assistant wrote; for a prompt it changes nothing."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_as_it_is"), [], [], body).set_lineno(
                line
            )

        def _as_it_is(self, caller: Any) -> Any:
            return caller()

    class Namespace(jinja2.utils.Namespace):
        """jinja2's, without names that begin with an underscore."""

        def __init__(*args: Any, **kwargs: Any) -> None:
            attributes = dict(*args[1:], **kwargs)
            for name in attributes:
                _refuse_private(name)
            jinja2.utils.Namespace.__init__(args[0], attributes)

        def __setitem__(self, name: str, value: Any) -> None:
            _refuse_private(name)
            super().__setitem__(name, value)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": lambda form: datetime.datetime.now().strftime(form),
        "dict": _Dict(),
        "namespace": Namespace,
    }
    return environment.from_string(source)


class _Dict:
    """`dict` without its attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _refuse_private(name: Any) -> None:
    from jinja2.exceptions import SecurityError

    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace may not hold {name!r}")


def _raise_exception(message: str) -> None:
    from jinja2.exceptions import TemplateError

    raise TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def limit_memory(most_bytes: int) -> None:
    """Of this process, where the system can."""
    with contextlib.suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, hard))


def serve() -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is for the run, which ends this process itself
    version = importlib.metadata.version("jinja2")
    old = tuple(int(part) for part in re.findall(r"\d+", version)[:3]) < OLDEST_JINJA
    for line in sys.stdin:
        request = json.loads(line)
        limit_memory(request["most_bytes"])
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        if old:
            answer = _fault(
                f"is not run by jinja2 {version}, whose sandbox leaks; pip install -U jinja2",
                whole=True,
            )
        else:
            answer = render(request)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
