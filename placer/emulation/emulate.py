"""Emulates a plan's site on this machine: starts the process inside the namespaces, and ends it whatever happens."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from typing import IO, TYPE_CHECKING

import msgspec

from placer import errors
from placer.deployment.assign import assign, load_models
from placer.emulation.agents import child_environment
from placer.emulation.isolation import isolating_command
from placer.emulation.job import LENGTH_BYTES, Done, Job, Message, Said, pack
from placer.emulation.network import find_wire
from placer.emulation.topology import lay_network
from placer.errors import ProblemError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from placer.emulation.result import Cut, Emulation
    from placer.plan import Plan
    from runtimes.assignment import Assignment
    from runtimes.convert import Array

_LEAST_REQUESTS = 3
_END_S = 5.0


def emulate(
    plan: Plan, *, duration_s: float = 20.0, runs: int | None = None, cuts: Sequence[Cut] = (),
    feeds: Mapping[str, Mapping[str, Array]] | None = None, deadline_s: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Emulation:  # fmt: skip
    """Run a plan on its own site, emulated on this machine, and compare what is measured with what it promised.

    Parameters
    ----------
    plan
        A plan with models.
    duration_s
        For how long requests are sent, each flow's at its rate.
    runs
        How many requests a flow sends at most.
    cuts
        Links to cut meanwhile.
    feeds
        Inputs by flow; zeros if not given.
    deadline_s
        Time that each request has; five times its prediction and at least 3 s if not given.
    progress
        Called with a line of text as the work goes on.

    Raises
    ------
    ProblemError
        The plan has no models, a flow is too slow for the duration, or a cut names no link of the site.
    DeployError
        The machine permits no namespaces, or the site could not be built in them.
    RunError
        A request failed though nothing was cut, or the emulation itself ended.
    """
    deployment = assign(plan, load_models(plan))
    _check(plan, deployment.assignments, duration_s, cuts)
    job = Job(
        plan=plan,
        identity=deployment.plan,
        epoch=deployment.epoch,
        assignments={device: _padded(plan, a) for device, a in deployment.assignments.items()},
        blobs=dict(deployment.blobs),
        feeds={flow: {name: pack(array) for name, array in arrays.items()} for flow, arrays in (feeds or {}).items()},
        duration_s=duration_s,
        runs=runs,
        cuts=tuple(cuts),
        deadline_s=deadline_s,
    )
    return _run(msgspec.msgpack.encode(job), progress or (lambda _: None))


def _check(plan: Plan, used: Mapping[str, Assignment], duration_s: float, cuts: Sequence[Cut]) -> None:
    topology = lay_network(plan.problem, used)
    for cut in cuts:
        find_wire(topology, cut.link)
        if not 0 <= cut.at_s < duration_s:
            raise ProblemError(f"the cut of {cut.link!r} at {cut.at_s:g} s is outside the {duration_s:g} s of the run")
    for flow in plan.flows:
        if 0 < flow.rate_hz * duration_s < _LEAST_REQUESTS:
            raise ProblemError(
                f"flow {flow.name!r} has a request every {1 / flow.rate_hz:g} s, too few in {duration_s:g} s; "
                f"give a duration of at least {_LEAST_REQUESTS / flow.rate_hz:g} s"
            )


def _padded(plan: Plan, assignment: Assignment) -> Assignment:
    """Stretch every segment to what it takes on its device, where its result is not found but made.

    All requests of an emulation have the same data: with caches it would not see what the deadline is for.
    """
    planned_s = {s.name: s.seconds for flow in plan.flows for s in flow.segments}
    segments = tuple(
        msgspec.structs.replace(s, pad_to_s=planned_s[s.name], cache_bytes=None) for s in assignment.segments
    )
    return msgspec.structs.replace(assignment, segments=segments)


def _run(job: bytes, tell: Callable[[str], None]) -> Emulation:
    command = [*isolating_command(), sys.executable, "-m", "placer.emulation.inside"]
    with tempfile.TemporaryFile() as words:
        # Of its own process group, so that Ctrl-C reaches us first.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, env=child_environment(),
            start_new_session=True,
        )  # fmt: skip
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(len(job).to_bytes(LENGTH_BYTES, "big") + job)
                process.stdin.flush()
            return _listen(process.stdout, words, tell)
        finally:
            _end(process)


def _listen(lines: IO[bytes], words: IO[bytes], tell: Callable[[str], None]) -> Emulation:
    for line in lines:
        message = msgspec.json.decode(line, type=Message)
        if isinstance(message, Said):
            tell(message.text)
        elif isinstance(message, Done):
            return message.emulation
        else:
            raise getattr(errors, message.kind)(message.text)
    words.seek(0)
    said = words.read().decode(errors="replace").strip()[-1000:] or "it said nothing"
    raise RunError(f"the emulation ended before its result: {said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End everything inside: the first process ends with its input, and all others with it."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
