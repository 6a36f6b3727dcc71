"""The `placer certs` commands, and the options by which other commands take certificates."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from placer.cli.agents import Json
from placer.errors import CertificateError, ProblemError

if TYPE_CHECKING:
    from placer.certificate import Certificate
    from placer.cli.terminal import Terminal
    from runtimes.identity import Role
    from runtimes.tls import Credentials

certs = typer.Typer(no_args_is_help=True, help="Make a site's authority and the certificates of who takes part in it.")

_FOLDER = Path("certs")

AuthorityFile = Annotated[
    Path | None,
    typer.Option("--authority", envvar="PLACER_AUTHORITY", metavar="FILE", help="The site's authority, in PEM."),
]
CertificateFile = Annotated[
    Path | None,
    typer.Option("--certificate", envvar="PLACER_CERTIFICATE", metavar="FILE", help="Your certificate, in PEM."),
]
KeyFile = Annotated[
    Path | None, typer.Option("--key", envvar="PLACER_KEY", metavar="FILE", help="Its private key, in PEM.")
]

Folder = Annotated[Path, typer.Option("--folder", help="Where the authority and what it signs are kept.")]
Name = Annotated[str, typer.Argument(help="Whom it is for.")]
Days = Annotated[float, typer.Option("--days", help="How long it is valid.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there, to renew it.")]


def read_credentials(authority: Path | None, certificate: Path | None, key: Path | None) -> Credentials | None:
    """Read the certificates that a command was given; None if it was given none.

    Raises
    ------
    ProblemError
        If one or two of the three are missing, or they cannot be used.
    """
    from runtimes.errors import BadCredentials
    from runtimes.tls import CredentialFiles, Credentials

    if authority is None and certificate is None and key is None:
        return None
    if authority is None or certificate is None or key is None:
        absent = [n for n, p in (("authority", authority), ("certificate", certificate), ("key", key)) if p is None]
        raise ProblemError(
            "--authority, --certificate and --key belong together; missing: "
            + ", ".join(f"--{name} (or PLACER_{name.upper()})" for name in absent)
        )
    try:
        return Credentials(CredentialFiles(authority=authority, certificate=certificate, key=key))
    except BadCredentials as error:
        raise ProblemError(str(error)) from error


@certs.command("init")
def init_command(
    context: typer.Context,
    site: Annotated[str, typer.Argument(help="The site's name in certificates, such as plant-3.")],
    folder: Folder = _FOLDER,
    days: Days = 3650,
    force: Force = False,
    json: Json = False,
) -> None:
    """Make the site's own authority. Its key signs for everybody: keep it off the devices."""
    from placer.certificate import read_certificates
    from placer.certs import make_authority

    made = make_authority(folder, site, days=days, force=force)
    _tell(context, made, json=json)
    try:
        stale = sum(not c.believed for c in read_certificates(folder))
    except CertificateError as error:
        sys.stderr.write(f"warning: {error}; whatever a former authority signed is refused from now on\n")
        return
    if stale:
        sys.stderr.write(
            f"warning: {stale} certificate{'s' * (stale > 1)} in {folder} of a former authority "
            f"{'are' if stale > 1 else 'is'} refused from now on; make each anew with --force: "
            "`placer certs show` lists them\n"
        )


@certs.command("agent")
def agent_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="DEVICE", help="The device's name in the site.")],
    address: Annotated[
        list[str] | None,
        typer.Option(help="A host name or number of it, for standard clients; may be given several times."),
    ] = None,
    folder: Folder = _FOLDER,
    days: Days = 90,
    force: Force = False,
    json: Json = False,
) -> None:
    """Make the certificate of a device's agent."""
    _issue(context, "device", name, folder, days, force=force, json=json, addresses=address or [])


@certs.command("deployer")
def deployer_command(
    context: typer.Context, name: Name, folder: Folder = _FOLDER, days: Days = 90, force: Force = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Make the certificate of somebody who puts plans on devices."""
    _issue(context, "deployer", name, folder, days, force=force, json=json)


@certs.command("client")
def client_command(
    context: typer.Context, name: Name, folder: Folder = _FOLDER, days: Days = 90, force: Force = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Make the certificate of somebody who asks for inference."""
    _issue(context, "client", name, folder, days, force=force, json=json)


@certs.command("show")
def show_command(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A certificate, or a folder of them.")] = _FOLDER,
    json: Json = False,
) -> None:
    """Show who holds certificates, and for how long."""
    from placer.certificate import read_certificates

    terminal: Terminal = context.obj
    found = read_certificates(path)
    if json:
        terminal.json([_document(c) for c in found])
        return
    table = Table()
    for column in ("holder", "addresses", "valid until (UTC)", "days left", "file"):
        table.add_column(column, justify="right" if column == "days left" else "left", overflow="fold")
    for c in found:
        days = c.days_left()
        left = f"{days:.1f}" if days > 0 else "expired"
        if c.believed is False:
            left = "another authority's"
        table.add_row(c.holder, " ".join(c.addresses), f"{c.ends:%Y-%m-%d %H:%M}", left, str(c.path))
    terminal.show(table)


def _issue(
    context: typer.Context, role: Role, name: str, folder: Path, days: float, *, force: bool, json: bool,
    addresses: list[str] | None = None,
) -> None:  # fmt: skip
    from placer.certs import issue

    _tell(context, issue(folder, role, name, addresses=addresses or [], days=days, force=force), json=json)


def _tell(context: typer.Context, made: Certificate, *, json: bool) -> None:
    terminal: Terminal = context.obj
    if json:
        terminal.json(_document(made))
        return
    terminal.show(f"{made.holder}: {made.path} and {made.path.with_suffix('.key')}, valid until "
                  f"{made.ends:%Y-%m-%d %H:%M} UTC")  # fmt: skip


def _document(certificate: Certificate) -> dict[str, object]:
    return {
        "holder": certificate.holder,
        "addresses": certificate.addresses,
        "begins": certificate.begins,
        "ends": certificate.ends,
        "days_left": certificate.days_left(),
        "file": str(certificate.path),
        "sha256": certificate.sha256,
        "believed": certificate.believed,
    }
