"""The `placer` command: turns errors into messages and exit codes."""

from __future__ import annotations

import sys

EXIT_CODES = {
    "bad input": 2,
    "infeasible": 3,
    "deployment or run failed": 4,
    "no plan within the time limit": 5,
    "interrupted": 130,
}


def main() -> int:
    """Run the command line.

    Returns
    -------
    int
        Exit code: 0 for success, else one of `EXIT_CODES`.
    """
    try:
        from placer.cli import app
    except ModuleNotFoundError as error:
        sys.stderr.write(f"error: {error.name} is missing; pip install 'placer-joules[planner,onnx]'\n")
        return EXIT_CODES["bad input"]
    from placer.errors import DeployError, Infeasible, NoPlanFound, PlacerError, RunError
    from profiles import ProfileError
    from runtimes.errors import AgentError

    try:
        code = app(standalone_mode=False)
    except (DeployError, RunError, AgentError) as error:
        return _fail(str(error), "deployment or run failed")
    except Infeasible as error:
        return _fail(str(error), "infeasible")
    except NoPlanFound as error:
        return _fail(str(error), "no plan within the time limit")
    except (PlacerError, ProfileError) as error:
        return _fail(str(error), "bad input")
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was left behind", "interrupted")
    except Exception as error:
        # The command line's own errors (typer's) know how to show themselves.
        if hasattr(error, "exit_code") and hasattr(error, "show"):
            error.show()
            return int(error.exit_code)
        raise
    return code if isinstance(code, int) else 0


def _fail(message: str, kind: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return EXIT_CODES[kind]


if __name__ == "__main__":
    sys.exit(main())
