"""Makes Dagster's and MLflow's roles and databases in PostgreSQL; safe to repeat, and the way to change a password.

It is read as text and run inside of the cluster, in the platform's image, because PostgreSQL is reached from there
alone. Where PostgreSQL is, what its certificate is checked against and all passwords come from its standard input.
"""

import json
import sys
import tempfile
from pathlib import Path

import psycopg2
from psycopg2 import sql


def main() -> None:
    """Make what is missing, and set the passwords."""
    given = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        certificates = Path(folder, "ca.pem")
        certificates.write_text(given["certificates"])
        connection = psycopg2.connect(dbname="postgres", sslrootcert=str(certificates), **given["master"])
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name, password in given["passwords"].items():
            role = sql.Identifier(name)
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name])
            verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
            cursor.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, role, sql.Literal(password)))
            # The master of RDS is no superuser: it must be of the role to give it a database.
            cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if not cursor.fetchone():
                cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
            cursor.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(role))
    connection.close()
    print("Databases and roles are there:", ", ".join(given["passwords"]))  # noqa: T201


if __name__ == "__main__":
    main()
