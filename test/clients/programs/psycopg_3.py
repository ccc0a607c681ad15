"""psycopg 3 through the proxy: the extended protocol, statements that it prepares by itself, and pipelines."""
import threading

import psycopg
from psycopg import errors
from checks import LARGE, MODE, expect, run


def connect(**options):
    return psycopg.connect("", **options)


main = connect(autocommit=True)


def one(sql, values=None, on=None, **options):
    return (on or main).execute(sql, values, **options).fetchone()[0]


def transactions():
    main.execute("DROP TABLE IF EXISTS psycopg3_rows")
    main.execute("CREATE TABLE psycopg3_rows (id int PRIMARY KEY, body text)")
    with main.transaction():
        main.cursor().executemany("INSERT INTO psycopg3_rows VALUES (%s, %s)", [(i, f"row {i}") for i in range(200)])
        try:
            with main.transaction():
                main.execute("DELETE FROM psycopg3_rows")
                raise RuntimeError("back to the savepoint")
        except RuntimeError:
            pass
    expect(one("SELECT count(*) FROM psycopg3_rows"), 200)
    try:
        with main.transaction():
            main.execute("DELETE FROM psycopg3_rows")
            raise RuntimeError("roll it back")
    except RuntimeError:
        pass
    expect(one("SELECT count(*) FROM psycopg3_rows"), 200)


def prepared():
    clients = [connect(autocommit=True) for _ in range(4)]
    for round in range(20):
        for client in clients:
            expect(one("SELECT %s::int + 1", (round,), on=client, prepare=True), round + 1)
    # More texts than it keeps: it deallocates the oldest.
    few = connect(autocommit=True, prepare_threshold=0)
    few.prepared_max = 3
    for round in range(2):
        for i in range(10):
            expect(one(f"SELECT %s::int + {i}", (1,), on=few), 1 + i)
    for client in [*clients, few]:
        client.close()


def changed_table():
    main.execute("DROP TABLE IF EXISTS psycopg3_changed")
    main.execute("CREATE TABLE psycopg3_changed (a int); ".rstrip("; "))
    main.execute("INSERT INTO psycopg3_changed VALUES (1)")
    statement = "SELECT * FROM psycopg3_changed"
    client = connect(autocommit=True)
    for _ in range(3):
        expect(client.execute(statement, prepare=True).fetchall(), [(1,)])
    main.execute("ALTER TABLE psycopg3_changed ADD b int")
    try:
        client.execute(statement, prepare=True)
    except errors.FeatureNotSupported:  # cached plan must not change result type: as on a server
        client.execute("DEALLOCATE ALL")
        client.close()
        client = connect(autocommit=True)
    for _ in range(3):
        expect(client.execute(statement, prepare=True).fetchall(), [(1, None)])
    client.close()


def pipeline():
    with main.pipeline():
        cursors = [main.execute("SELECT %s::int", (i,)) for i in range(300)]
        expect([cursor.fetchone()[0] for cursor in cursors], list(range(300)))
    # An error ends its own part, and the connection goes on.
    try:
        with main.pipeline():
            main.execute("SELECT 1")
            main.execute("SELECT nothing_like_it")
            main.execute("SELECT 2")
        raise AssertionError("no error")
    except (errors.UndefinedColumn, errors.PipelineAborted):
        pass
    with main.pipeline() as pipeline:
        with main.transaction():
            main.execute("INSERT INTO psycopg3_rows VALUES (-1, 'piped')")
            pipeline.sync()
            main.execute("UPDATE psycopg3_rows SET body = 'piped twice' WHERE id = -1")
        cursor = main.execute("SELECT body FROM psycopg3_rows WHERE id = -1")
        expect(cursor.fetchone()[0], "piped twice")


def copy():
    cursor = main.cursor()
    with cursor.copy("COPY psycopg3_rows FROM STDIN") as into:
        for i in range(1000, 21000):
            into.write_row((i, f"row {i} \u00e4"))
    with cursor.copy("COPY (SELECT id FROM psycopg3_rows WHERE id >= 1000 ORDER BY id) TO STDOUT (FORMAT BINARY)") as out:
        out.set_types(["int4"])
        expect([row[0] for row in out.rows()], list(range(1000, 21000)))
    try:
        with cursor.copy("COPY psycopg3_rows FROM STDIN") as into:
            into.write_row((50_000, "x"))
            raise RuntimeError("half-way")
    except (RuntimeError, errors.QueryCanceled):
        pass
    expect(one("SELECT count(*) FROM psycopg3_rows WHERE id = 50000"), 0)
    expect(one("SELECT 1"), 1)


def cancel():
    other = connect(autocommit=True)
    timer = threading.Timer(0.3, other.cancel)
    timer.start()
    try:
        other.execute("SELECT pg_sleep(30)")
        raise AssertionError("it was not cancelled")
    except errors.QueryCanceled:
        pass
    timer.join()
    expect(one("SELECT 1", on=other), 1)
    other.close()


def large():
    expect(len(main.execute("SELECT i, repeat('x', 50) FROM generate_series(1, 50000) AS i").fetchall()), 50000)
    expect(len(one("SELECT repeat('y', %s)", (LARGE,))), LARGE)
    rows = 0
    for _ in main.cursor().stream("SELECT generate_series(1, 20000)"):
        rows += 1
    expect(rows, 20000)


def large_parameters():
    expect(one("SELECT length(%s::text)", ("z\u00e4" * LARGE,)), 2 * LARGE)
    expect(one("SELECT octet_length(%b::bytea)", (b"\0\1" * LARGE,)), 2 * LARGE)
    expect(one("SELECT cardinality(%s::int[])", (list(range(100_000)),)), 100_000)


def cursors():
    with main.transaction(), main.cursor("named") as cursor:
        cursor.itersize = 1000
        cursor.execute("SELECT generate_series(1, 5000)")
        expect(sum(row[0] for row in cursor), 5000 * 5001 // 2)
    with main.transaction(), main.cursor("scrolls", scrollable=True) as cursor:
        cursor.execute("SELECT generate_series(1, 10)")
        cursor.scroll(5)
        expect(cursor.fetchone()[0], 6)
        cursor.scroll(0, mode="absolute")
        expect(cursor.fetchone()[0], 1)


def error_cases():
    for i in range(10):
        try:
            one("SELECT 1 / %s", (0,), prepare=True)
            raise AssertionError("no error")
        except errors.DivisionByZero:
            pass
    other = connect()
    one("SELECT 1", on=other)
    try:
        one("SELECT nothing", on=other)
    except errors.UndefinedColumn:
        pass
    try:
        one("SELECT 1", on=other)
        raise AssertionError("the transaction should have failed")
    except errors.InFailedSqlTransaction:
        other.rollback()
    expect(one("SELECT 2", on=other), 2)
    other.close()


def settings():
    other = connect(autocommit=True)
    other.execute("SET application_name = 'psycopg3 here'")
    other.execute("SET TimeZone = 'Asia/Tokyo'")
    for _ in range(6):
        expect(one("SHOW application_name", on=other), "psycopg3 here")
        expect(one("SHOW TimeZone", on=other), "Asia/Tokyo")
    expect(other.info.timezone.key, "Asia/Tokyo")
    other.execute("SET work_mem = '123MB'")
    expect(one("SHOW work_mem", on=other), "4MB" if MODE == "transaction" else "123MB")
    other.execute("RESET ALL")
    expect(one("SHOW work_mem", on=other), "4MB")
    with other.transaction():
        other.execute("SET LOCAL work_mem = '64MB'")
        expect(one("SHOW work_mem", on=other), "64MB")
    expect(one("SHOW work_mem", on=other), "4MB")
    other.close()


def listen():
    other = connect(autocommit=True)
    if MODE == "transaction":
        try:
            other.execute("LISTEN psycopg3_news")
            raise AssertionError("LISTEN was taken")
        except errors.FeatureNotSupported:
            expect(one("SELECT 1", on=other), 1)
    else:
        other.execute("LISTEN psycopg3_news")
        main.execute("SELECT pg_notify('psycopg3_news', 'hello')")
        threading.Timer(10, other.cancel)
        expect(next(other.notifies()).payload, "hello")
    other.close()


def two_phase():
    other = connect()
    other.tpc_begin(other.xid(7, "psycopg3", MODE))
    other.execute("INSERT INTO psycopg3_rows VALUES (-7, 'in two phases')")
    other.tpc_prepare()
    other.close()
    second = connect()
    prepared = [each for each in second.tpc_recover() if each.gtrid == "psycopg3"]
    expect(len(prepared), 1)
    second.tpc_commit(prepared[0])
    expect(one("DELETE FROM psycopg3_rows WHERE id = -7 RETURNING body", on=second), "in two phases")
    second.commit()
    second.close()


run([
    ("transactions", transactions), ("prepared", prepared), ("changed table", changed_table), ("pipeline", pipeline),
    ("copy", copy), ("cancel", cancel), ("large results", large), ("large parameters", large_parameters),
    ("cursors", cursors), ("errors", error_cases), ("settings", settings), ("listen", listen), ("two-phase", two_phase),
])
