"""URLs as hosts and manuals write them, with what the driver has to get; and URLs to refuse."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fastapi_asyncdb.dialects import TLSMode


@dataclass
class Received:
    """What a URL comes to: what the engine hands to the driver, and what is told beside it."""

    user: str | None = None
    password: str | None = None
    hosts: list[tuple[str, int | None]] = field(default_factory=list)
    database: str | None = None
    tls: TLSMode = "prefer"
    connect_args: dict[str, Any] = field(default_factory=dict)
    connect_timeout: float | None = None
    driver: str = "postgresql+asyncpg"


ASYNCPG = {
    "heroku": (
        "postgres://ucq:p8f2@ec2-34-1-2-3.compute-1.amazonaws.com:5432/d9abc",
        Received("ucq", "p8f2", [("ec2-34-1-2-3.compute-1.amazonaws.com", 5432)], "d9abc"),
    ),
    "neon": (
        "postgresql://alex:AbC123dEf@ep-cool-123456-pooler.us-east-2.aws.neon.tech/dbname"
        "?sslmode=require&channel_binding=require",
        Received(
            "alex",
            "AbC123dEf",
            [("ep-cool-123456-pooler.us-east-2.aws.neon.tech", None)],
            "dbname",
            tls="require",
        ),
    ),
    "neon-endpoint": (
        "postgresql://alex:AbC@ep-cool.aws.neon.tech/main"
        "?options=endpoint%3Dep-cool&sslmode=require",
        Received(
            "alex",
            "AbC",
            [("ep-cool.aws.neon.tech", None)],
            "main",
            tls="require",
            connect_args={"server_settings": {"options": "endpoint=ep-cool"}},
        ),
    ),
    "supabase-direct": (
        "postgresql://postgres:pass@db.abcdefgh.supabase.co:5432/postgres",
        Received("postgres", "pass", [("db.abcdefgh.supabase.co", 5432)], "postgres"),
    ),
    "supabase-pooler": (
        "postgres://postgres.abcdefgh:pass@aws-0-eu-central-1.pooler.supabase.com:6543/postgres",
        Received(
            "postgres.abcdefgh",
            "pass",
            [("aws-0-eu-central-1.pooler.supabase.com", 6543)],
            "postgres",
        ),
    ),
    "supabase-prisma": (
        "postgresql://postgres.abcdefgh:pass@aws-0-eu-central-1.pooler.supabase.com:6543/postgres"
        "?sslmode=require&channel_binding=require&pgbouncer=true&connection_limit=1",
        Received(
            "postgres.abcdefgh",
            "pass",
            [("aws-0-eu-central-1.pooler.supabase.com", 6543)],
            "postgres",
            tls="require",
        ),
    ),
    "rds-proxy": (
        "postgresql://app:pw@app.proxy-c1a2b3.eu-west-1.rds.amazonaws.com:5432/app?sslmode=require",
        Received(
            "app",
            "pw",
            [("app.proxy-c1a2b3.eu-west-1.rds.amazonaws.com", 5432)],
            "app",
            tls="require",
        ),
    ),
    "rds": (
        "postgresql://app:pw@mydb.c1.eu-west-1.rds.amazonaws.com:5432/app"
        "?sslmode=verify-full&sslrootcert=/etc/ssl/rds/global-bundle.pem",
        Received(
            "app", "pw", [("mydb.c1.eu-west-1.rds.amazonaws.com", 5432)], "app", tls="verify-full"
        ),
    ),
    "cloud-sql": (
        "postgresql://app:pw@/app?host=/cloudsql/project:region:inst",
        Received("app", "pw", [("/cloudsql/project:region:inst", None)], "app"),
    ),
    "cloud-sql-localhost": (
        "postgresql://app:pw@localhost:5433/app?host=/cloudsql/project:region:inst",
        Received("app", "pw", [("/cloudsql/project:region:inst", 5433)], "app"),
    ),
    "socket-instead-of-several-hosts": (
        "postgresql://app@one,two/app?host=/run/postgresql",
        Received("app", None, [("/run/postgresql", None)], "app"),
    ),
    "cloud-sql-unix-sock": (
        "postgresql+asyncpg://app:pw@/app?unix_sock=/cloudsql/p:r:i/.s.PGSQL.5432",
        Received("app", "pw", [("/cloudsql/p:r:i/.s.PGSQL.5432", None)], "app"),
    ),
    "cloud-sql-encoded-host": (
        "postgresql://app:pw@%2Fcloudsql%2Fproject%3Aregion%3Ainst/app",
        Received("app", "pw", [("/cloudsql/project:region:inst", None)], "app"),
    ),
    "azure-encoded": (
        "postgresql://admin%40myserver:pw@myserver.postgres.database.azure.com/db?sslmode=require",
        Received(
            "admin@myserver",
            "pw",
            [("myserver.postgres.database.azure.com", None)],
            "db",
            tls="require",
        ),
    ),
    "azure-raw": (
        "postgresql://admin@myserver:pw@myserver.postgres.database.azure.com:5432/db"
        "?sslmode=require",
        Received(
            "admin@myserver",
            "pw",
            [("myserver.postgres.database.azure.com", 5432)],
            "db",
            tls="require",
        ),
    ),
    "fly": (
        "postgres://app:pw@app-db.internal:5432/app?sslmode=disable",
        Received("app", "pw", [("app-db.internal", 5432)], "app", tls="disable"),
    ),
    "fly-flycast": (
        "postgres://app:pw@top2.nearest.of.app-db.internal:5432/app",
        Received("app", "pw", [("top2.nearest.of.app-db.internal", 5432)], "app"),
    ),
    "railway": (
        "postgresql://postgres:pw@containers-us-west-1.railway.app:7654/railway",
        Received("postgres", "pw", [("containers-us-west-1.railway.app", 7654)], "railway"),
    ),
    "render": (
        "postgres://app_user:pw@dpg-abc123-a.oregon-postgres.render.com/app",
        Received("app_user", "pw", [("dpg-abc123-a.oregon-postgres.render.com", None)], "app"),
    ),
    "digitalocean-pool": (
        "postgresql://doadmin:AVNS_pw@db-1-do-user-1-0.b.db.ondigitalocean.com:25061/pool"
        "?sslmode=require",
        Received(
            "doadmin",
            "AVNS_pw",
            [("db-1-do-user-1-0.b.db.ondigitalocean.com", 25061)],
            "pool",
            tls="require",
        ),
    ),
    "digitalocean": (
        "postgresql://doadmin:AVNS_pw@db-1-do-user-1-0.b.db.ondigitalocean.com:25060/defaultdb"
        "?sslmode=require",
        Received(
            "doadmin",
            "AVNS_pw",
            [("db-1-do-user-1-0.b.db.ondigitalocean.com", 25060)],
            "defaultdb",
            tls="require",
        ),
    ),
    "cockroachdb": (
        "postgresql://max:pw@free-tier.gcp-us-central1.cockroachlabs.cloud:26257/defaultdb"
        "?sslmode=verify-full&options=--cluster%3Dcooked-raven-123",
        Received(
            "max",
            "pw",
            [("free-tier.gcp-us-central1.cockroachlabs.cloud", 26257)],
            "defaultdb",
            tls="verify-full",
            connect_args={"server_settings": {"options": "--cluster=cooked-raven-123"}},
        ),
    ),
    "aiven": (
        "postgres://avnadmin:pw@pg-1-project.aivencloud.com:12345/defaultdb?sslmode=require",
        Received(
            "avnadmin", "pw", [("pg-1-project.aivencloud.com", 12345)], "defaultdb", tls="require"
        ),
    ),
    "timescale": (
        "postgres://tsdbadmin:pw@abc.def.tsdb.cloud.timescale.com:31234/tsdb?sslmode=require",
        Received(
            "tsdbadmin", "pw", [("abc.def.tsdb.cloud.timescale.com", 31234)], "tsdb", tls="require"
        ),
    ),
    "node-ssl-flag": (
        "postgresql://u:pw@db.example.com/app?ssl=true",
        Received("u", "pw", [("db.example.com", None)], "app", tls="require"),
    ),
    "asyncpg-ssl-mode": (
        "postgresql+asyncpg://u:pw@db.example.com/app?ssl=verify-full",
        Received("u", "pw", [("db.example.com", None)], "app", tls="verify-full"),
    ),
    "several-hosts": (
        "postgresql://u:pw@a.example.com:5432,b.example.com:5433/app?target_session_attrs=primary",
        Received(
            "u",
            "pw",
            [("a.example.com", 5432), ("b.example.com", 5433)],
            "app",
            connect_args={"target_session_attrs": "primary"},
        ),
    ),
    "several-hosts-one-port": (
        "postgresql://u:pw@a,b:5433,c/app",
        Received("u", "pw", [("a", 5432), ("b", 5433), ("c", 5432)], "app"),
    ),
    "several-hosts-in-the-query": (
        "postgresql://u:pw@/app?host=a,b&port=1,2&target_session_attrs=read-write",
        Received(
            "u",
            "pw",
            [("a", 1), ("b", 2)],
            "app",
            connect_args={"target_session_attrs": "read-write"},
        ),
    ),
    "several-hosts-one-port-in-the-query": (
        "postgresql://u:pw@/app?host=a,b&port=6432",
        Received("u", "pw", [("a", 6432), ("b", 6432)], "app"),
    ),
    "several-hosts-as-sqlalchemy-has-them": (
        "postgresql+asyncpg://u:pw@/app?host=a:1&host=b:2",
        Received("u", "pw", [("a", 1), ("b", 2)], "app"),
    ),
    "several-sockets": (
        "postgresql://u@/app?host=/run/one,/run/two",
        Received("u", None, [("/run/one", 5432), ("/run/two", 5432)], "app"),
    ),
    "ipv6": (
        "postgresql://u:pw@[2001:db8::1]:5433/app",
        Received("u", "pw", [("2001:db8::1", 5433)], "app"),
    ),
    "ipv6-zone": (
        "postgresql://u:pw@[fe80::1%25eth0]/app",
        Received("u", "pw", [("fe80::1%eth0", None)], "app"),
    ),
    "ipv6-list": (
        "postgresql://u:pw@[::1]:5433,[2001:db8::2],db:5434/app",
        Received("u", "pw", [("::1", 5433), ("2001:db8::2", 5432), ("db", 5434)], "app"),
    ),
    "ipv6-in-the-query": (
        "postgresql://u:pw@/app?host=::1,[::2]:7&port=5,6",
        Received("u", "pw", [("::1", 5), ("::2", 6)], "app"),
    ),
    "no-host": ("postgresql:///app", Received(None, None, [], "app")),
    "no-host-but-a-port": ("postgresql://u@:5433/app", Received("u", None, [("", 5433)], "app")),
    "no-host-port-in-the-query": (
        "postgresql:///app?port=5433",
        Received(None, None, [("", 5433)], "app"),
    ),
    "port-in-the-query": (
        "postgresql://u@db/app?port=6000",
        Received("u", None, [("db", 6000)], "app"),
    ),
    "nothing-at-all": ("postgresql://", Received(None, None, [], None)),
    "everything-in-the-query": (
        "postgresql:///?host=db&port=5433&user=a%40b&password=p%2Fw&dbname=app",
        Received("a@b", "p/w", [("db", 5433)], "app"),
    ),
    "raw-at-in-the-query": (
        "postgresql://db/app?user=a@b",
        Received("a@b", None, [("db", None)], "app"),
    ),
    "connect-timeout": (
        "postgres://u:pw@db/app?connect_timeout=10",
        Received("u", "pw", [("db", None)], "app", connect_timeout=10.0),
    ),
    "application-name": (
        "postgresql://u:pw@db/app?application_name=my%20app",
        Received(
            "u",
            "pw",
            [("db", None)],
            "app",
            connect_args={"server_settings": {"application_name": "my app"}},
        ),
    ),
    "options-plus": (
        "postgresql://db/app?options=-c+search_path=one,two",
        Received(
            None,
            None,
            [("db", None)],
            "app",
            connect_args={"server_settings": {"search_path": "one,two"}},
        ),
    ),
    "options-several": (
        "postgresql://db/app"
        "?options=-c%20statement_timeout%3D5s%20-csearch_path=a%20--Work-Mem=1MB",
        Received(
            None,
            None,
            [("db", None)],
            "app",
            connect_args={
                "server_settings": {
                    "statement_timeout": "5s",
                    "search_path": "a",
                    "work_mem": "1MB",
                }
            },
        ),
    ),
    "options-escaped": (
        "postgresql://db/app?options=-c%20search_path%3Done\\,\\%20two%20endpoint%3Dx",
        Received(
            None,
            None,
            [("db", None)],
            "app",
            connect_args={"server_settings": {"search_path": "one, two", "options": "endpoint=x"}},
        ),
    ),
    "direct-tls": (
        "postgresql://db/app?sslmode=require&sslnegotiation=direct",
        Received(
            None, None, [("db", None)], "app", tls="require", connect_args={"direct_tls": True}
        ),
    ),
    "asyncpg-arguments": (
        "postgresql://db/app"
        "?statement_cache_size=0&prepared_statement_cache_size=0&command_timeout=3",
        Received(
            None,
            None,
            [("db", None)],
            "app",
            connect_args={
                "statement_cache_size": 0,
                "prepared_statement_cache_size": 0,
                "command_timeout": 3.0,
            },
        ),
    ),
    "libpq-parameters-without-effect": (
        "postgresql://db/app?gssencmode=disable&client_encoding=utf8&sslsni=1",
        Received(None, None, [("db", None)], "app"),
    ),
    "keepalives-of-libpq": (
        "postgresql://db/app?keepalives_idle=7&tcp_user_timeout=9000",
        Received(
            None,
            None,
            [("db", None)],
            "app",
            connect_args={"keepalives_idle": 7, "tcp_user_timeout": 9000},
        ),
    ),
    "blanks-around": ("  postgresql://db/app\n", Received(None, None, [("db", None)], "app")),
    "upper-case-scheme": ("POSTGRESQL://db/app", Received(None, None, [("db", None)], "app")),
}

PSYCOPG = {
    "psycopg": (
        "postgresql+psycopg://u:pw@db:5432/app?sslmode=require&options=-c+search_path%3Da",
        Received(
            "u",
            "pw",
            [("db", 5432)],
            "app",
            tls="require",
            connect_args={"options": "-c search_path=a"},
            driver="postgresql+psycopg",
        ),
    ),
    "psycopg-async": (
        "postgresql+psycopg_async://u:pw@/app?host=/cloudsql/p:r:i&connect_timeout=7",
        Received(
            "u",
            "pw",
            [("/cloudsql/p:r:i", None)],
            "app",
            connect_timeout=7,
            driver="postgresql+psycopg",
        ),
    ),
    "psycopg-several-hosts": (
        "postgres+psycopg://u:pw@a:1,[::1]:2/app?target_session_attrs=prefer-standby",
        Received(
            "u",
            "pw",
            [("a", 1), ("::1", 2)],
            "app",
            connect_args={"target_session_attrs": "prefer-standby"},
            driver="postgresql+psycopg",
        ),
    ),
    "psycopg-node-ssl-flag": (
        "postgresql+psycopg://u:pw@db/app?ssl=true&application_name=x&channel_binding=require",
        Received(
            "u",
            "pw",
            [("db", None)],
            "app",
            tls="require",
            connect_args={"application_name": "x", "channel_binding": "require"},
            driver="postgresql+psycopg",
        ),
    ),
}

MYSQL = {
    "planetscale-prisma": (
        "mysql://u1:pscale_pw_x@aws.connect.psdb.cloud/app?sslaccept=strict",
        Received(
            "u1",
            "pscale_pw_x",
            [("aws.connect.psdb.cloud", None)],
            "app",
            tls="verify-full",
            driver="mysql+asyncmy",
        ),
    ),
    "planetscale-node": (
        'mysql://u1:pscale_pw_x@aws.connect.psdb.cloud/app?ssl={"rejectUnauthorized":true}',
        Received(
            "u1",
            "pscale_pw_x",
            [("aws.connect.psdb.cloud", None)],
            "app",
            tls="verify-full",
            driver="mysql+asyncmy",
        ),
    ),
    "cleardb": (
        "mysql://b1:pw@us-cdbr-iron-east-01.cleardb.net/heroku_abc?reconnect=true",
        Received(
            "b1",
            "pw",
            [("us-cdbr-iron-east-01.cleardb.net", None)],
            "heroku_abc",
            driver="mysql+asyncmy",
        ),
    ),
    "digitalocean-mysql": (
        "mysql://doadmin:pw@db.b.db.ondigitalocean.com:25060/defaultdb?ssl-mode=REQUIRED",
        Received(
            "doadmin",
            "pw",
            [("db.b.db.ondigitalocean.com", 25060)],
            "defaultdb",
            tls="require",
            driver="mysql+asyncmy",
        ),
    ),
    "tidb": (
        "mysql+aiomysql://u.root:pw@gw.prod.aws.tidbcloud.com:4000/test"
        "?ssl_ca=/etc/ssl/cert.pem&ssl_verify_cert=true&ssl_verify_identity=true",
        Received(
            "u.root",
            "pw",
            [("gw.prod.aws.tidbcloud.com", 4000)],
            "test",
            tls="verify-full",
            driver="mysql+aiomysql",
        ),
    ),
    "mysql-authority-implies-verification": (
        "mysql://u:pw@db/app?ssl_ca=/etc/ssl/ca.pem",
        Received("u", "pw", [("db", None)], "app", tls="verify-ca", driver="mysql+asyncmy"),
    ),
    "mariadb": (
        "mariadb://u:p%40w@db:3306/app?charset=utf8mb4&connect_timeout=3",
        Received(
            "u",
            "p@w",
            [("db", 3306)],
            "app",
            connect_args={"charset": "utf8mb4"},
            connect_timeout=3,
            driver="mariadb+asyncmy",
        ),
    ),
    "asyncmy": (
        "mysql+asyncmy://u:pw@db/app",
        Received("u", "pw", [("db", None)], "app", driver="mysql+asyncmy"),
    ),
    "mysql-socket": (
        "mysql://u:pw@/app?unix_socket=/cloudsql/p:r:i",
        Received(
            "u",
            "pw",
            [],
            "app",
            connect_args={"unix_socket": "/cloudsql/p:r:i"},
            driver="mysql+asyncmy",
        ),
    ),
    "mysql-socket-short": (
        "mysql://u@localhost/app?socket=/run/mysqld/mysqld.sock",
        Received(
            "u",
            None,
            [("localhost", None)],
            "app",
            connect_args={"unix_socket": "/run/mysqld/mysqld.sock"},
            driver="mysql+asyncmy",
        ),
    ),
}
SERVERS = ASYNCPG | PSYCOPG | MYSQL

# Passwords, percent-encoded or as they are, wherever the docstring of parse_url promises it.
PASSWORDS = {
    "p%25w": "p%w",
    "p%40w": "p@w",
    "p%3Aw": "p:w",
    "p%2Fw": "p/w",
    "p%3Fw": "p?w",
    "p%23w": "p#w",
    "p%2Bw": "p+w",
    "p%20w": "p w",
    "p%C3%BCw%E2%82%AC": "püw€",
    "": "",
    "p%w": "p%w",
    "100%": "100%",
    "100%ff": "100%ff",
    "p@w": "p@w",
    "p@w@": "p@w@",
    "p:w": "p:w",
    ":pw:": ":pw:",
    "p/w": "p/w",
    "a+/b==": "a+/b==",
    "p?w": "p?w",
    "p#w": "p#w",
    "p+w": "p+w",
    "p w": "p w",
    "püw€": "püw€",
    "p[w]": "p[w]",
    "p&w=1": "p&w=1",
}

SQLITE: dict[str, tuple[str, dict[str, Any]]] = {
    "sqlite:///app.db": ("app.db", {}),
    "sqlite:///./app.db": ("./app.db", {}),
    "sqlite+aiosqlite:////srv/data/app.db": ("/srv/data/app.db", {}),
    "sqlite:///:memory:": (":memory:", {}),
    "sqlite://": (":memory:", {}),
    "sqlite:///": (":memory:", {}),
    "sqlite:///%3Amemory%3A": (":memory:", {}),
    "sqlite:///file:app.db?mode=ro": ("file:app.db?mode=ro", {"uri": True}),
    "sqlite:///file:app.db?mode=ro&uri=true": ("file:app.db?mode=ro", {"uri": True}),
    "sqlite:///file%3Aapp.db?mode=rw&cache=private": (
        "file:app.db?cache=private&mode=rw",
        {"uri": True},
    ),
    "sqlite:///file:/srv/my%20app.db?immutable=1": (
        "file:/srv/my%20app.db?immutable=1",
        {"uri": True},
    ),
    "sqlite:///C:\\data\\app.db": ("C:\\data\\app.db", {}),
    "sqlite:///C:/data/app.db": ("C:/data/app.db", {}),
    "sqlite:///my app.db": ("my app.db", {}),
    "sqlite:///my%20app.db": ("my app.db", {}),
    "sqlite:///100%25.db": ("100%.db", {}),
    "sqlite:///what%3F.db": ("what?.db", {}),
    "sqlite:///a#b@c.db": ("a#b@c.db", {}),
    "sqlite:///bücher.db": ("bücher.db", {}),
    "sqlite:///app.db?timeout=20&cached_statements=50": (
        "app.db",
        {"timeout": 20.0, "cached_statements": 50},
    ),
    "sqlite:///app.db?check_same_thread=false": ("app.db", {}),
}

REFUSED = {
    # Drivers.
    "postgresql+psycopg2://u:{pw}@db/app": ["psycopg2", "postgresql+asyncpg://"],
    "postgresql+pg8000://u:{pw}@db/app": ["pg8000", "postgresql+asyncpg://"],
    "postgres+psycopg2://u:{pw}@db/app": ["psycopg2", "postgresql+psycopg://"],
    "mysql+pymysql://u:{pw}@db/app": ["pymysql", "mysql+aiomysql://"],
    "mysql+mysqldb://u:{pw}@db/app": ["mysqldb", "mysql+asyncmy://"],
    "mariadb+mariadbconnector://u:{pw}@db/app": ["mariadb+aiomysql://"],
    "sqlite+pysqlite:///app.db": ["pysqlite", "sqlite+aiosqlite://"],
    "sqlite+pysqlcipher://:{pw}@/app.db": ["pysqlcipher", "sqlite+aiosqlite://"],
    "mssql+aioodbc://u:{pw}@db/app": ["mssql", "not served"],
    "oracle://u:{pw}@db/app": ["oracle", "not served"],
    "mongodb+srv://u:{pw}@db/app": ["mongodb", "not served"],
    # No URL.
    "jdbc:postgresql://db/app?user=u&password={pw}": ["JDBC", "Remove 'jdbc:'"],
    "": ["no '://'"],
    "app.db": ["no '://'", "sqlite:///./app.db"],
    "sqlite:app.db": ["no '://'"],
    "u:{pw}@db/app": ["no '://'"],
    "postgresql:u:{pw}@db/app": ["no '://'"],
    "host=db user=u password={pw}": ["no '://'"],
    "'postgresql://u:{pw}@db/app'": ["scheme", "Quotes"],
    "DATABASE_URL=postgresql://u:{pw}@db/app": ["scheme", "remove"],
    "u:{pw}://db": ["scheme"],
    "://u:{pw}@db": ["scheme"],
    # Hosts and ports.
    "postgresql://u:{pw}@db:port/app": ["host or port", "number"],
    "postgresql://u:{pw}@db:99999/app": ["port", "65535"],
    "postgresql://u:{pw}@db:0/app": ["port", "65535"],
    "postgresql://u:{pw}@/app?host=db&port=x": ["port", "65535"],
    "postgresql://u:{pw}@/app?host=a,b&port=1,2,3": ["more ports than hosts"],
    "postgresql://u:{pw}@/app?host=a,,b": ["no name"],
    "postgresql://u:{pw}@2001:db8::1/app": ["IPv6", "brackets"],
    "postgresql://u:{pw}@[::1/app": ["IPv6", "brackets"],
    "mysql://u:{pw}@a,b/app": ["one host", "several"],
    # An "@" that has two readings.
    "postgresql://u:12/{pw}@db/app": ["two ways", "%2F"],
    "postgresql://u:x@y/{pw}@db/app": ["two ways", "%40"],
    "postgresql://u:12?{pw}@db/app": ["two ways", "%3F"],
    "postgresql://u:12?{pw}=1@db/app": ["name=value", "%3F"],
    "postgresql://u:12?x=1&{pw}&y=2@db/app": ["name=value", "%3F"],
    # Parameters.
    "postgresql://u:{pw}@db/app?sslmod=require": ["'sslmod'", "Remove it", "options="],
    "postgresql+psycopg://u:{pw}@db/app?sslmod=require": ["'sslmod'", "Remove it"],
    "postgresql://u:{pw}@db/app?service=main": ["'service'"],
    "postgresql://u:{pw}@db/app?pgbouncer=maybe": ["'pgbouncer'", "true"],
    "postgresql://u:{pw}@db/app?schema=tenant": ["'schema'", "public"],
    "postgresql://u:{pw}@db/app?search_path=a": ["'search_path'", "options=-c"],
    "mysql://u:{pw}@db/app?sslmod=require": ["'sslmod'"],
    "sqlite:///app.db?mode=ro": ["'mode'", "sqlite:///file:app.db?mode=ro"],
    "sqlite:///app.db?isolation_level=DEFERRED": ["'isolation_level'"],
    "sqlite:///file:app.db?nosuch=1": ["'nosuch'"],
    "postgresql://u:{pw}@db/app?sslmode=REQUIRED": ["sslmode", "verify-full"],
    "postgresql://u:{pw}@db/app?ssl=maybe": ["sslmode", "verify-full"],
    "postgresql+psycopg://u:{pw}@db/app?sslmode=on": ["sslmode", "verify-full"],
    "mysql://u:{pw}@db/app?ssl-mode=ON": ["TLS mode", "VERIFY_IDENTITY"],
    "postgresql://u:{pw}@db/app?connect_timeout=soon": ["'connect_timeout'", "number"],
    "postgresql://u:{pw}@db/app?connect_timeout=nan": ["'connect_timeout'", "number"],
    "postgresql://u:{pw}@db/app?connect_timeout=-1": ["'connect_timeout'", "number"],
    "postgresql://u:{pw}@db/app?command_timeout=1m": ["'command_timeout'", "seconds"],
    "postgresql+psycopg://u:{pw}@db/app?connect_timeout=soon": ["'connect_timeout'", "number"],
    "mysql://u:{pw}@db/app?connect_timeout=soon": ["'connect_timeout'", "number"],
    "sqlite:///app.db?timeout=soon": ["'timeout'", "number"],
    "postgresql://u:{pw}@db/app?statement_cache_size=-1": ["'statement_cache_size'", "number"],
    "postgresql://u:{pw}@db/app?target_session_attrs=master": ["target_session_attrs", "primary"],
    "postgresql://u:{pw}@db/app?gssencmode=require": ["gssencmode", "disable"],
    "postgresql://u:{pw}@db/app?sslnegotiation=direct": ["sslnegotiation", "sslmode=verify-full"],
    "postgresql+psycopg://u:{pw}@db/app?sslnegotiation=direct": ["sslnegotiation", "TLS"],
    "sqlite:///file:app.db?mode=readonly": ["'mode'", "ro, rw"],
    # SQLite has no host.
    "sqlite://app.db": ["three slashes", "four"],
    "sqlite://./app.db": ["three slashes"],
    "sqlite://u:{pw}@host/app.db": ["no host"],
}
