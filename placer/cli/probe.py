"""The `placer probe` command: a link measured by real calls between agents, or from here to one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from placer.cli.agents import Json
from placer.cli.certs import AuthorityFile, CertificateFile, KeyFile, read_credentials
from placer.cli.terminal import require_folder, write_file
from placer.errors import ProblemError, RunError

if TYPE_CHECKING:
    from placer.cli.terminal import Terminal
    from placer.measuring.probe import LinkFigures
    from profiles import Ends, LinkProfile
    from runtimes.probe import LinkProbe
    from runtimes.tls import Credentials


class End(NamedTuple):
    """An agent as the command line names it; a part that was not said is empty."""

    device: str
    address: str

    @property
    def name(self) -> str:
        """What to call it."""
        return self.device or self.address


def probe_command(
    context: typer.Context,
    ends_given: Annotated[
        list[str],
        typer.Argument(metavar="[FROM] TO", help="HOST:PORT or DEVICE=HOST:PORT of agents; from here if FROM is none."),
    ],
    save: Annotated[Path | None, typer.Option(help="Write a link profile that a site can name to this .yaml.")] = None,
    like: Annotated[
        str | None, typer.Option(metavar="ID", help="A link of the catalog whose energy figures the profile takes.")
    ] = None,
    ends: Annotated[
        str | None, typer.Option(help="Which ends pay for what is sent: both, client (the one that probes) or none.")
    ] = None,
    authority: AuthorityFile = None,
    certificate: CertificateFile = None,
    key: KeyFile = None,
    json: Json = False,
) -> None:
    """Measure a link: round trip, bandwidth both ways, jitter, loss, the first call against warm ones."""
    from placer.measuring.probe import link_figures, probed_profile
    from profiles.profile_file import encode_profile

    terminal: Terminal = context.obj
    require_folder(save, inputs=[authority, certificate, key])
    with terminal:
        start, target = _ends(ends_given)
        base, paying = _energy(like, ends, save)
        credentials = read_credentials(authority, certificate, key)
        terminal.progress(f"probing {target.name}")
        probe = _probe(start, target, credentials)
        figures = link_figures(probe)
        here = "this machine" if start is None else start.name
        profile = None
        if save is not None and paying is not None:
            day = datetime.now(UTC).date()
            profile = probed_profile(
                figures, name=save.stem, ends=paying, like=base, ways=(here, probe.device), day=day
            )
            write_file(save, encode_profile(profile))
    if json:
        terminal.json({"from": here, "to": probe.device, "figures": figures, "probe": probe, "profile": profile})
        return
    terminal.show(_table(here, probe, figures))
    if save is not None:
        terminal.show(f"Written to {save}. In a site: links: [{{from: ..., to: ..., profile: {save.name}}}]")


def _ends(given: list[str]) -> tuple[End | None, End]:
    if len(given) > 2:
        raise ProblemError(f"{len(given)} ends are given: name the agent to probe, or the one that probes and it")
    *starts, target = [_end(text) for text in given]
    start = starts[0] if starts else None
    if start is not None and not start.address:
        raise ProblemError(f"{start.device!r}: give HOST:PORT of the agent that is to probe")
    if start is None and not target.address:
        raise ProblemError(
            f"{target.device!r}: give HOST:PORT of the agent, or the agent that is to probe it before it"
        )
    if start is not None and not target.device:
        raise ProblemError(
            f"{target.address}: say which device that is, DEVICE={target.address}: {start.name} asks for it"
        )
    return start, target


def _end(text: str) -> End:
    device, named, address = text.rpartition("=")
    if not named:
        device, address = ("", text) if ":" in text else (text, "")
    return End(device, address)


def _energy(like: str | None, ends: str | None, save: Path | None) -> tuple[LinkProfile | None, Ends | None]:
    """Find whose energy figures a saved profile takes, and which of its ends pay."""
    from typing import get_args

    from profiles import Catalog, Ends

    base = None if like is None else Catalog.load().link(like)
    paying = ends or (base.ends if base else None)
    if save is not None and paying is None:
        raise ProblemError(
            "--save: no probe measures joules; give --like ID of the catalog's link whose energy figures it has, or "
            "--ends both, client or none, and the site gives them"
        )
    if paying is not None and paying not in get_args(Ends):
        raise ProblemError(f"--ends {paying!r}: give both, client or none")
    return base, paying  # type: ignore[return-value]


def _probe(start: End | None, target: End, credentials: Credentials | None) -> LinkProbe:
    from runtimes.client import AgentClient
    from runtimes.probe import probe_link

    if start is None:
        return probe_link(target.address, credentials=credentials, device=target.device or None)
    with AgentClient(start.address, credentials=credentials, device=start.device or None) as client:
        named = client.status().device
        if start.device and named != start.device:
            raise RunError(f"the agent at {start.address} is {named!r}, not {start.device!r}; look at the addresses")
        return client.probe(target.device, target.address)


def _table(here: str, probe: LinkProbe, figures: LinkFigures) -> Any:
    from rich.table import Table

    from placer.report.tables import amount, size

    table = Table(title=f"{here} to {probe.device}", title_justify="left", title_style="bold")
    for column in ("what", "measured", "spread"):
        table.add_column(column, justify="left" if column == "what" else "right")
    large = size(probe.large_bytes)
    rows = [
        ("first call, connecting included", amount(figures.first_s, "s"), ""),
        ("round trip of an empty call", amount(2 * figures.latency_s, "s"), f"{figures.latency_spread:.1%}"),
        ("jitter: between consecutive ones", amount(figures.jitter_s, "s"), ""),
        ("bandwidth there", f"{8e-6 * figures.up_bytes_per_s:.4g} Mbit/s", f"{figures.up_spread:.1%}"),
        ("bandwidth back", f"{8e-6 * figures.down_bytes_per_s:.4g} Mbit/s", f"{figures.down_spread:.1%}"),
        ("empty message on an open stream", amount(figures.stream_small_s, "s"), ""),
        (f"{large} on an open stream", amount(figures.stream_up_s, "s"), ""),
    ]
    if figures.call_s is not None:
        rows.insert(2, ("of it in the processes", amount(figures.call_s, "s"), ""))
    if figures.loss is not None:
        rows.append(("TCP packets sent again", f"{figures.loss:.3%}", f"of {probe.segments}"))
    for row in rows:
        table.add_row(*row)
    return table
