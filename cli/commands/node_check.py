"""`tongjian node check`: look at everything that a stopped node has on disk.

Exit codes: 0 sound, 1 something is wrong (each finding has a code and a remedy), 2 it could not be looked at.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from pathlib import Path

import click

from cli import output
from cli.running import ENTRIES
from common.chain.application import Application
from common.core.errors import Rejected
from common.core.genesis import Genesis
from common.node.diagnosis.data_findings import DataReport
from common.node.genesis_file import read_genesis
from common.node.settings import NodeSettings, load_settings
from common.node.startup import DATABASE_DIRECTORY
from common.node.store.storage import LevelDBStore
from common.node.store.store_errors import DamagedStore, StoreFailed
from common.node.upkeep.audit import audit
from common.node.upkeep.chain_rebuild import Progress, no_progress
from common.node.upkeep.file_audit import check_files, check_vote_log, read_vote_log

CONFIG = click.option(
    "--config", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The node's settings (TOML)."
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
COULD_NOT_LOOK = 2
PROGRESS_S = 2.0


@click.command()
@CONFIG
@AS_JSON
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where the chain is rebuilt to compare with, as large as the database; by default the data directory.",
)
def check(config: Path, as_json: bool, scratch: Path | None) -> None:
    """Verify everything on the disk of a stopped node: every block is executed again.

    Nothing is changed. Exit code 1 if something is wrong; `tongjian node repair` mends it.
    """
    try:
        settings = load_settings(config)
        report = check_node(settings, scratch or settings.data_dir, no_progress if as_json else ShownProgress())
    except (Rejected, StoreFailed) as error:
        detail = error.detail if isinstance(error, Rejected) else str(error)
        click.echo(f"error: {error.code}: {output.printable(detail)}", err=True)
        raise SystemExit(COULD_NOT_LOOK) from None
    if as_json:
        output.print_json(report.document())
    else:
        _print(report)
    raise SystemExit(0 if report.sound else 1)


def application_of(genesis: Genesis) -> Application:
    """The rules of the chain that a genesis document founds. Raises Rejected."""
    application: Application = importlib.import_module(ENTRIES[genesis.tier]).application_for(genesis)
    return application


def check_node(settings: NodeSettings, scratch: Path, progress: Progress) -> DataReport:
    """Look at everything. Raises Rejected for settings or genesis, StoreInUse while the node runs, StoreFailed."""
    genesis = read_genesis(settings.genesis_file)
    application = application_of(genesis)
    report = DataReport()
    path = settings.data_dir / DATABASE_DIRECTORY
    if path.is_dir() and any(path.iterdir()):
        try:
            store = LevelDBStore(path)
        except DamagedStore as error:
            report.add_damage(error, "database_unreadable")
        else:
            try:
                with tempfile.TemporaryDirectory(prefix="check-", dir=scratch) as folder:
                    _check_database(settings, store, genesis, application, Path(folder), report, progress)
            finally:
                store.close()
    else:
        report.add("database_missing", f"there is no database in {path}")
    check_files(settings, genesis, report)
    return report


def _check_database(
    settings: NodeSettings,
    store: LevelDBStore,
    genesis: Genesis,
    application: Application,
    folder: Path,
    report: DataReport,
    progress: Progress,
) -> None:
    """The database and its vote log."""
    scratch = LevelDBStore(folder / DATABASE_DIRECTORY)
    try:
        reader = audit(store, genesis, application, scratch, report, progress)
    finally:
        scratch.close()
    if reader is not None:
        check_vote_log(read_vote_log(settings.data_dir), reader, report)


class ShownProgress:
    """Long work, on standard error, once in a while."""

    def __init__(self) -> None:
        self._shown_at = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        """See `chain_rebuild.Progress`."""
        now = time.monotonic()
        if now - self._shown_at >= PROGRESS_S:
            self._shown_at = now
            output.progress(f"{what}: {done:,} of {total:,}")


def _print(report: DataReport) -> None:
    for finding in report.findings:
        click.echo(output.printable(f"{finding.code}: {finding.what}"))
        if finding.key is not None:
            click.echo(f"    key     {finding.key!r}")
        click.echo(output.printable(f"    remedy  {finding.remedy}"))
    more = {code: count for code, count in report.counts.items() if count > 1}
    for code, count in sorted(more.items()):
        click.echo(f"{code}: {count:,} in all")
    for what in report.not_checked:
        click.echo(f"not checked: {what}")
    looked = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in report.checked.items())
    click.echo(f"height {report.height}: {looked}")
    click.echo("sound" if report.sound else "damaged")
