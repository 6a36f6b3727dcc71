"""The `placer profile` command: measure a device and write its profile."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from placer.cli.agents import Json, check_address
from placer.cli.certs import AuthorityFile, CertificateFile, KeyFile, read_credentials
from placer.cli.terminal import require_folder, write_file
from placer.errors import MeasureError, ProblemError, UnboundInputError
from profiles import Boundary, MeterError, Tier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from placer.cli.terminal import Terminal
    from placer.measuring.profile_device import Subject
    from placer.measuring.profile_power import Declared
    from profiles import DeviceProfile
    from profiles.meters import Meter
    from runtimes.client import AgentClient

_HERE = "this machine"


def profile_command(
    context: typer.Context,
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Models to measure: .onnx or .tflite.")],
    save: Annotated[Path, typer.Option(metavar="FILE", help="Write the device profile to this .yaml.")],
    agent: Annotated[
        str | None,
        typer.Option(metavar="[DEVICE=]HOST:PORT", help="The device's agent; one is started here if not given."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME=1,3,224,224", help="Shape of an input with open dimensions."),
    ] = None,
    threads: Annotated[list[int] | None, typer.Option(min=1, help="Threads; give several for several modes.")] = None,
    runs: Annotated[int, typer.Option(min=3, max=1000, help="Rounds of every part.")] = 15,
    meter: Annotated[str | None, typer.Option(help="What measures joules: see docs/cli.md.")] = None,
    window: Annotated[
        float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="Length of each window of the meter.")
    ] = 5.0,
    idle_w: Annotated[
        float | None, typer.Option("--idle-w", min=0.0, metavar="WATTS", help="Declare idle power; no meter is read.")
    ] = None,
    active_w: Annotated[
        float | None,
        typer.Option("--active-w", min=0.0, metavar="WATTS", help="Declare computing power, idle included."),
    ] = None,
    wait_w: Annotated[
        float | None, typer.Option("--wait-w", min=0.0, metavar="WATTS", help="Declare waiting power above idle.")
    ] = None,
    boundary: Annotated[
        str | None, typer.Option(help="What declared powers, or an hwmon sensor, include: chip, board, wall, node.")
    ] = None,
    tier: Annotated[str, typer.Option(help="Where such a device stands: sensor, edge or cloud.")] = "edge",
    authority: AuthorityFile = None,
    certificate: CertificateFile = None,
    key: KeyFile = None,
    json: Json = False,
) -> None:
    """Measure a device: seconds of models, op by op, and watts."""
    from placer.measuring.profile_device import profile_device
    from placer.measuring.profile_journal import Journal
    from placer.planning import read_model
    from profiles.profile_file import encode_profile
    from runtimes.server import available_threads

    terminal: Terminal = context.obj
    log = Path(meter.removeprefix("replay:")) if meter and meter.startswith("replay:") else None
    require_folder(save, inputs=[*models, log, authority, certificate, key])
    counts = sorted(set(threads or [1]))
    if agent is None and counts[-1] > available_threads():
        raise ProblemError(f"--threads {counts[-1]}: this machine gives {available_threads()}; give at most so many")
    if tier not in get_args(Tier):
        raise ProblemError(f"--tier {tier!r}: give {', '.join(get_args(Tier))}")
    power = _power(meter, agent, idle_w, active_w, wait_w, boundary)
    with terminal:
        shapes = _shapes(inputs or [])
        graphs = []
        for path in models:
            terminal.progress(f"reading {path}")
            try:
                graphs.append(read_model(path, _of_model(path, shapes)))
            except UnboundInputError as error:
                example = f"{error.name}={','.join(map(str, error.example))}"
                raise ProblemError(f"{error.what}; give its whole shape, for example --input {example}") from None
        if len({graph.sha256 for graph in graphs}) < len(graphs):
            raise ProblemError("a model is given twice; give each once")
        with _client(agent, authority, certificate, key) as client:
            subject = _subject(save, tier, agent, client)  # type: ignore[arg-type]
            about = {
                "models": [[graph.sha256, {t.name: list(t.shape) for t in graph.inputs}] for graph in graphs],
                "threads": counts, "runs": runs, "window_s": window, "host": subject.host,
                "power": meter or ("declared" if idle_w is not None else "found"),
            }  # fmt: skip
            journal = Journal(save, about)
            try:
                profile = profile_device(
                    client, graphs, subject, power, journal, threads=counts, runs=runs, window_s=window,
                    progress=terminal.progress,
                )  # fmt: skip
            except BaseException:
                if journal.path.exists():
                    terminal.errors.print(
                        f"what was measured is kept in {journal.path}: the same command goes on there"
                    )
                raise
        write_file(save, encode_profile(profile))
        journal.remove()
    if json:
        terminal.json(profile)
    else:
        terminal.show(profile_table(profile), profile.note, f"Written to {save}. In a site: profile: {save.name}")


def profile_table(profile: DeviceProfile) -> object:
    """Make a table of a profile's modes."""
    from rich.table import Table

    table = Table(title=f"{profile.name}", title_justify="left")
    for name in ("mode", "model", "MACs", "whole model", "error of unseen cuts", "power", "idle"):
        table.add_column(name, justify="left" if name in ("mode", "model") else "right")
    for mode in profile.modes:
        costs = mode.op_costs
        idle = "" if profile.idle_w is None else f"{profile.idle_w.value:.3g} W"
        for model in costs.models if costs else ():
            whole = next(b for b in profile.benchmarks if (b.model, b.mode) == (model.name, mode.name))
            table.add_row(
                mode.name, model.name, f"{whole.macs:.3g}", f"{1000 * whole.seconds.value:.4g} ms",
                f"{model.relative_error:.1%}", f"{mode.active_w.value:.3g} W ({mode.active_w.origin})", idle,
            )  # fmt: skip
    return table


def _power(
    meter: str | None, agent: str | None, idle_w: float | None, active_w: float | None, wait_w: float | None,
    boundary: str | None,
) -> Meter | Declared:  # fmt: skip
    """Open the meter, or take the declared powers; nothing else says what a device draws."""
    from placer.measuring.profile_power import Declared
    from profiles.meters import find_meter, open_meter

    declared = {"--idle-w": idle_w, "--active-w": active_w, "--boundary": boundary}
    missing = [name for name, value in declared.items() if value is None]
    if boundary is not None and boundary not in get_args(Boundary):
        raise ProblemError(f"--boundary {boundary!r}: give {', '.join(get_args(Boundary))}")
    if meter is not None and any(value is not None for value in (idle_w, active_w, wait_w)):
        raise ProblemError("--meter measures power, and --idle-w, --active-w and --wait-w declare it: give either")
    if idle_w is not None and active_w is not None and boundary is not None:
        if active_w < idle_w or active_w <= 0:
            raise ProblemError(f"--active-w {active_w:g}: computing power includes idle power, {idle_w:g} W here")
        return Declared(idle_w=idle_w, active_w=active_w, wait_w=wait_w, boundary=boundary)  # type: ignore[arg-type]
    if meter is None and (len(missing) < len(declared) or wait_w is not None):
        raise ProblemError(f"{', '.join(missing)}: missing; --idle-w, --active-w and --boundary belong together")
    if meter is None and agent is not None:
        raise MeasureError(
            f"no meter is known to read the device at {agent}: declare --idle-w, --active-w and --boundary, name a "
            "--meter of this machine that is wired to it, or run `placer profile` on the device itself"
        )
    try:
        return find_meter() if meter is None else open_meter(meter, boundary)  # type: ignore[arg-type]
    except MeterError as error:
        raise MeasureError(
            f"the power is unknown: {error}. Declare --idle-w, --active-w and --boundary, from a plug or a data sheet"
        ) from error


def _shapes(given: list[str]) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for item in given:
        name, found, dims = item.rpartition("=")
        try:
            shape = tuple(int(dim) for dim in dims.split(","))
        except ValueError:
            shape = ()
        if not found or not name or not shape or min(shape) < 1:
            raise ProblemError(f"--input {item!r}: give NAME=DIM,DIM,..., such as x=1,3,224,224")
        shapes[name] = shape
    return shapes


def _of_model(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return those shapes that name this model's inputs: `NAME=` for all models, `FILE:NAME=` for one."""
    own = {name.partition(":")[2]: shape for name, shape in shapes.items() if name.startswith(f"{path.name}:")}
    return {name: shape for name, shape in shapes.items() if ":" not in name} | own


@contextlib.contextmanager
def _client(
    agent: str | None, authority: Path | None, certificate: Path | None, key: Path | None
) -> Iterator[AgentClient]:
    from placer.deployment.local_agents import local_agents
    from runtimes.client import AgentClient

    if agent is None:
        # The models are the caller's own, and a process for each of a hundred parts would fill a small machine.
        with local_agents([_HERE], isolated=False) as addresses, AgentClient(addresses[_HERE]) as client:
            yield client
        return
    device, _, address = agent.rpartition("=")
    check_address(f"--agent {agent!r}", address)
    credentials = read_credentials(authority, certificate, key)
    with AgentClient(address, credentials=credentials, device=device or None) as client:
        yield client


def _subject(save: Path, tier: Tier, agent: str | None, client: AgentClient) -> Subject:
    from placer.measuring.profile_device import Subject

    if agent is not None:
        status = client.status()
        host = f"device {status.device} at {agent}, {status.version}"
        return Subject(id=save.stem, name=f"device {status.device}", tier=tier, host=host, memory_bytes=None)
    processor = f"{_processor()}, {os.cpu_count()} processors"
    return Subject(
        id=save.stem,
        name=processor,
        tier=tier,
        host=f"{processor}, {platform.system()} {platform.release()}, agent {client.status().version}",
        memory_bytes=float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")),
    )


def _processor() -> str:
    """Name this machine's processor, as Linux knows it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    except OSError:
        pass
    return platform.machine()
