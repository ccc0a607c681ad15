"""psycopg 2 through the proxy: libpq with simple queries; its parameters are put into the text."""
import io
import select
import threading
import time

import psycopg2
import psycopg2.errors
from psycopg2.extras import execute_values
from checks import LARGE, MODE, expect, run


def connect(autocommit=False):
    connection = psycopg2.connect("")
    connection.autocommit = autocommit
    return connection


main = connect()


def one(sql, *values, on=None):
    with (on or main).cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchone()[0]


def transactions():
    with main, main.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS psycopg2_rows")
        cursor.execute("CREATE TABLE psycopg2_rows (id int PRIMARY KEY, body text)")
    with main, main.cursor() as cursor:
        execute_values(cursor, "INSERT INTO psycopg2_rows VALUES %s", [(i, f"row {i}") for i in range(100)])
    try:
        with main, main.cursor() as cursor:
            cursor.execute("DELETE FROM psycopg2_rows")
            raise RuntimeError("roll it back")
    except RuntimeError:
        pass
    with main:
        expect(one("SELECT count(*) FROM psycopg2_rows"), 100)
    with main, main.cursor() as cursor:
        cursor.execute("SAVEPOINT one; DELETE FROM psycopg2_rows; ROLLBACK TO SAVEPOINT one")
        expect(one("SELECT count(*) FROM psycopg2_rows"), 100)


def isolation():
    other = connect()
    other.set_session(isolation_level="SERIALIZABLE", readonly=True)
    expect(one("SHOW transaction_isolation", on=other), "serializable")
    try:
        one("INSERT INTO psycopg2_rows VALUES (-1) RETURNING id", on=other)
        raise AssertionError("it was written")
    except psycopg2.errors.ReadOnlySqlTransaction:
        other.rollback()
    other.close()


def prepared():
    with main, main.cursor() as cursor:
        cursor.execute("PREPARE twice (int) AS SELECT $1 * 2")
        cursor.execute("EXECUTE twice (21)")
        expect(cursor.fetchone()[0], 42)
        cursor.execute("DEALLOCATE twice")


def copy():
    with main, main.cursor() as cursor:
        lines = "".join(f"{i}\trow {i} \u00e4\u20ac\n" for i in range(1000, 21000))
        cursor.copy_expert("COPY psycopg2_rows FROM STDIN", io.StringIO(lines))
        out = io.StringIO()
        cursor.copy_expert("COPY (SELECT * FROM psycopg2_rows WHERE id >= 1000 ORDER BY id) TO STDOUT", out)
        expect(out.getvalue() == lines, True)
    try:
        with main, main.cursor() as cursor:
            cursor.copy_expert("COPY psycopg2_rows FROM STDIN", io.StringIO("5\tduplicate\n"))
        raise AssertionError("a duplicate was taken")
    except psycopg2.errors.UniqueViolation:
        pass


def cancel():
    other = connect()
    timer = threading.Timer(0.3, other.cancel)
    timer.start()
    try:
        one("SELECT pg_sleep(30)", on=other)
        raise AssertionError("it was not cancelled")
    except psycopg2.errors.QueryCanceled:
        other.rollback()
    timer.join()
    expect(one("SELECT 1", on=other), 1)
    other.close()


def large():
    with main, main.cursor() as cursor:
        cursor.execute("SELECT i, repeat('x', 50) FROM generate_series(1, 50000) AS i")
        expect(len(cursor.fetchall()), 50000)
        expect(len(one("SELECT repeat('y', %s)", LARGE)), LARGE)


def large_parameters():
    with main:
        expect(one("SELECT length(%s)", "z\u00e4" * LARGE), 2 * LARGE)
        expect(one("SELECT octet_length(%s::bytea)", psycopg2.Binary(b"\0\1" * LARGE)), 2 * LARGE)


def cursors():
    with main, main.cursor("named") as cursor:
        cursor.itersize = 1000
        cursor.execute("SELECT generate_series(1, 5000)")
        expect(sum(row[0] for row in cursor), 5000 * 5001 // 2)


def errors():
    for _ in range(3):
        try:
            with main:
                one("SELECT 1/0")
            raise AssertionError("no error")
        except psycopg2.errors.DivisionByZero:
            pass
    with main:
        one("SELECT 1")
        try:
            one("SELECT nothing")
        except psycopg2.errors.UndefinedColumn:
            pass
        try:
            one("SELECT 1")
            raise AssertionError("the transaction should have failed")
        except psycopg2.errors.InFailedSqlTransaction:
            main.rollback()
    expect(one("SELECT 1"), 1)
    main.rollback()


def settings():
    other = connect(autocommit=True)
    with other.cursor() as cursor:
        cursor.execute("SET application_name = 'psycopg2 here'")
        cursor.execute("SET DateStyle = 'German'")
        expect(one("SHOW application_name", on=other), "psycopg2 here")
        expect(other.get_parameter_status("DateStyle"), "German, DMY")
        cursor.execute("SET work_mem = '123MB'")
        expect(one("SHOW work_mem", on=other), "4MB" if MODE == "transaction" else "123MB")
        cursor.execute("RESET ALL")
        expect(one("SHOW work_mem", on=other), "4MB")
    other.set_client_encoding("LATIN1")
    expect(one("SELECT 'gr\u00fcn'", on=other), "gr\u00fcn")
    expect(one("SHOW client_encoding", on=other), "LATIN1")
    with main, main.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'")
        expect(one("SHOW work_mem"), "64MB")
    expect(one("SHOW work_mem"), "4MB")
    main.rollback()
    other.close()


def listen():
    other = connect(autocommit=True)
    with other.cursor() as cursor:
        if MODE == "transaction":
            try:
                cursor.execute("LISTEN psycopg2_news")
                raise AssertionError("LISTEN was taken")
            except psycopg2.errors.FeatureNotSupported:
                expect(one("SELECT 1", on=other), 1)
        else:
            cursor.execute("LISTEN psycopg2_news")
            with main, main.cursor() as sender:
                sender.execute("NOTIFY psycopg2_news, 'hello'")
            deadline = time.monotonic() + 10
            while not other.notifies and time.monotonic() < deadline:
                select.select([other], [], [], 1)
                other.poll()
            expect([each.payload for each in other.notifies], ["hello"])
    other.close()


def two_phase():
    other = connect()
    xid = other.xid(7, "psycopg2", MODE)
    other.tpc_begin(xid)
    one("INSERT INTO psycopg2_rows VALUES (-7, 'in two phases') RETURNING id", on=other)
    other.tpc_prepare()
    other.reset()
    second = connect()
    prepared = [each for each in second.tpc_recover() if each.gtrid == "psycopg2"]
    expect(len(prepared), 1)
    second.rollback()
    second.tpc_commit(prepared[0])
    expect(one("DELETE FROM psycopg2_rows WHERE id = -7 RETURNING body", on=second), "in two phases")
    second.commit()
    other.close()
    second.close()


run([
    ("transactions", transactions), ("isolation", isolation), ("prepared", prepared), ("copy", copy), ("cancel", cancel),
    ("large results", large), ("large parameters", large_parameters), ("cursors", cursors), ("errors", errors),
    ("settings", settings), ("listen", listen), ("two-phase", two_phase),
])
