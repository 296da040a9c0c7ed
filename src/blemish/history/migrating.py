"""Brings a database to the tables of today, whatever version of blemish made it; never from a newer one."""

from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from blemish.errors import InputError
from blemish.history.database import Database

FOLDER = Path(__file__).with_name("migrations")
VERSION_TABLE = "blemish_version"  # not Alembic's own name: a database may serve others too


def bring_up(database: Database) -> None:
    """Make or change the tables, all or nothing; of several processes one does it, and the others wait.

    Raises InputError if a newer version of blemish has been there, StorageError if the database cannot be used.
    """
    script = ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER)])
    with database.reading() as connection:
        if _is_current(connection, script, database.place):
            return
    with database.writing(alone=True, long=True) as connection:
        if not _is_current(connection, script, database.place):
            _upgrade(connection, script)


def _is_current(connection: Connection, script: ScriptDirectory, place: str) -> bool:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    found = set(context.get_current_heads())
    if strange := found - {revision.revision for revision in script.walk_revisions()}:
        raise InputError(
            f"history: {place}: made by a newer version of blemish (tables {', '.join(sorted(strange))}, this is "
            f"{script.get_current_head()}); update blemish"
        )
    return found == set(script.get_heads())


def _upgrade(connection: Connection, script: ScriptDirectory) -> None:
    with EnvironmentContext(Config(), script, fn=lambda found, _: script._upgrade_revs("head", found)) as environment:
        environment.configure(connection=connection, version_table=VERSION_TABLE)
        environment.run_migrations()
