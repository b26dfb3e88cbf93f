"""All settings in one file, every value from the environment (prefix `VMSNAP_`), with safe local defaults.

The README holds the same settings as a table; a test compares the two.
"""

import hashlib
import os
import secrets
import sys
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from vmsnap_site import environment as env

BASE_DIR = Path(__file__).resolve().parent.parent

# Everything a run writes goes below this folder: database, broker queues, keys, the lab.
DATA_DIR = Path(env.text("DATA_DIR", str(BASE_DIR / "var"))).resolve()
DATA_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)


def kept_secret(name: str, file_name: str) -> str:
    """A secret from the environment, or one made at first start and kept, for its owner only, in the data folder."""
    given = env.secret(name)
    if given:
        return given
    path = DATA_DIR / file_name
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(48))
    return path.read_text(encoding="ascii").strip()


SECRET_KEY = kept_secret("SECRET_KEY", "secret_key")
# Encrypts hypervisor logins at rest. The first key writes, all keys read; `rotate_credentials` re-encrypts.
CREDENTIAL_KEYS = [key for key in kept_secret("CREDENTIAL_KEYS", "credential_key").split(",") if key]
# Derived here so that the encryption never depends on the form of the text that was given.
CREDENTIAL_KEY_DIGESTS = [hashlib.sha256(key.encode()).digest() for key in CREDENTIAL_KEYS]

DEBUG = env.yes("DEBUG", False)
ALLOWED_HOSTS = env.listed("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.listed("TRUSTED_ORIGINS", [])
# What `run_all` serves with.
PORT = env.whole("PORT", 8000, least=1, most=65_535)
# How many own proxies stand in front: only they are believed about the client's address and about HTTPS.
PROXIES = env.whole("PROXIES", 0, most=100)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if PROXIES else None
WEB_PROCESSES = env.whole("WEB_PROCESSES", 2, least=1, most=1000)
WEB_THREADS = env.whole("WEB_THREADS", 8, least=1, most=1000)
# The password of the demo's users; without it one is made at first start and kept in the data folder.
DEMO_PASSWORD = env.secret("DEMO_PASSWORD")

INSTALLED_APPS = [
    "hypervisors",
    "snapshots",
    "vmsnap_site.apps.VMSnapAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "mptt",
    "rest_framework",
    "knox",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "import_export",
    "axes",
    "csp",
]

MIDDLEWARE = [
    "vmsnap_site.request_log.RequestIdMiddleware",
    "vmsnap_site.proxies.ProxyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "vmsnap_site.urls"
WSGI_APPLICATION = "vmsnap_site.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "snapshots.web.page_frame.page_frame",
            ],
            "builtins": ["snapshots.web.template_tools"],
        },
    }
]


def database(url: str) -> dict[str, object]:
    """Django's settings for a database URL: `sqlite:///path` or `postgresql://user:password@host:port/name?option=value`."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": unquote(parts.path[1:]) or str(DATA_DIR / "vmsnap.sqlite3"),
            "OPTIONS": {
                # IMMEDIATE takes the write lock at the start of a transaction, so that two of them wait for each other
                # instead of failing half-way; WAL lets pages read meanwhile.
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
            },
        }
    if parts.scheme in {"postgres", "postgresql"}:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(parts.hostname or ""),
            "PORT": str(parts.port or ""),
            # Ticks reach each process of a worker about once a minute: with a shorter age most jobs would have to open a
            # new one. A connection that broke is noticed by the health check.
            "CONN_MAX_AGE": 600,
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": dict(parse_qsl(parts.query)),
        }
    raise ImproperlyConfigured(f"VMSNAP_DATABASE_URL: unknown scheme {parts.scheme!r}; use sqlite or postgresql.")


DATABASES = {"default": database(env.secret("DATABASE_URL", f"sqlite:///{DATA_DIR / 'vmsnap.sqlite3'}"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "snapshots.User"

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "machine_list"
LOGOUT_REDIRECT_URL = "sign_in"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.yes("SECURE_COOKIES", False)
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# HTTPS ends at the proxy in front, which redirects to it and sends Strict-Transport-Security.
SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008"]

AXES_FAILURE_LIMIT = env.whole("SIGN_IN_ATTEMPTS", 10, least=1, most=1_000_000)
AXES_COOLOFF_TIME = env.number("SIGN_IN_PAUSE_MINUTES", 15, least=0.1, most=env.YEAR // 60) / 60
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_TEMPLATE = "account/locked_out.html"
AXES_RESET_ON_SUCCESS = True
AXES_VERBOSE = False

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],  # the style sheet kit draws its small arrows as data: pictures
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

# Names may hold characters that a workbook cannot.
IMPORT_EXPORT_ESCAPE_ILLEGAL_CHARS_ON_EXPORT = True

LANGUAGE_CODE = "en"
TIME_ZONE = env.text("TIME_ZONE", "UTC")
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [
    BASE_DIR / "static",
    # Not the libraries it brings along: they refer to files that are not in the package.
    *((f"vendor/tabler/{part}", BASE_DIR / f"node_modules/@tabler/core/dist/{part}") for part in ("css", "img", "js")),
    ("vendor/htmx", BASE_DIR / "node_modules/htmx.org/dist"),
]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "vmsnap_site.single_files.SingleFilesFinder",
]
STATICFILES_SINGLE = {"vendor/echarts/echarts.min.js": BASE_DIR / "node_modules/echarts/dist/echarts.min.js"}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_KEEP_ONLY_HASHED_FILES = True

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "snapshots.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["snapshots.api.authentication.SignedInWithinScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.UserRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"user": env.text("API_RATE", "1200/min")},
    "EXCEPTION_HANDLER": "snapshots.api.errors.problem_response",
    "COERCE_DECIMAL_TO_STRING": False,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "VMSnap",
    "DESCRIPTION": "VM snapshots of a private cloud.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    # Several things have a state, so their words need names of their own.
    "ENUM_NAME_OVERRIDES": {
        "SnapshotState": "snapshots.choices.SnapshotState",
        "JobState": "snapshots.choices.JobState",
        "SnapshotType": "snapshots.choices.SnapshotType",
        "UsageType": "snapshots.choices.UsageType",
        "HypervisorState": "hypervisors.models.Hypervisor.State",
        "LimitKind": "snapshots.choices.LimitKind",
        "LimitedPlace": ["account", "domain"],
        "LimitSourcePlace": ["account", "domain", "default"],
    },
}
REST_KNOX = {"TOKEN_MODEL": "snapshots.ApiToken", "AUTO_REFRESH": False}
KNOX_TOKEN_MODEL = "snapshots.ApiToken"  # noqa: S105  # names a model, holds no secret

# Celery carries ids only; the job rows are the truth and the broker is a bell.
BROKER_DIR = DATA_DIR / "broker"
CELERY_BROKER_URL = env.secret("BROKER_URL", "filesystem://localhost/")
if CELERY_BROKER_URL.startswith("filesystem"):
    BROKER_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, object] = {
        "data_folder_in": str(BROKER_DIR / "queue"),
        "data_folder_out": str(BROKER_DIR / "queue"),
        "control_folder": str(BROKER_DIR / "control"),
        "processed_folder": str(BROKER_DIR / "processed"),
        "store_processed": False,
        "polling_interval": 0.05,
    }
    for folder in ("queue", "control", "processed"):
        (BROKER_DIR / folder).mkdir(mode=0o700, exist_ok=True)
else:
    # A broker that is down or silent must not hold up a request: the row is written, the sweeper rings again. Without
    # `confirm_publish` RabbitMQ's client takes a message for sent that went into a dead connection, and without its
    # two timeouts it waits for a silent or overloaded server for ever. Redis goes by the names with `socket_`.
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "max_retries": 1,
        "socket_connect_timeout": 2,
        "socket_timeout": 3,
        "confirm_publish": True,
        "read_timeout": 3,
        "write_timeout": 3,
    }
CELERY_BROKER_CONNECTION_TIMEOUT = 2
# One more try, at once: only this makes a long-lived process reconnect. Without it the ticks of a worker never come back
# after a restart of RabbitMQ.
CELERY_TASK_PUBLISH_RETRY = True
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker waits for its broker as long as it takes
# Early acknowledgement: a job cannot come back, so a lost connection is no reason to stop what runs.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
# Never closed by Celery itself: `worker_connections` does that by Django's rules.
CELERY_DB_REUSE_MAX = sys.maxsize
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CONCURRENCY = env.whole("WORKER_PROCESSES", 4, least=1, most=1000)
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "ticks")
CELERY_TIMEZONE = "UTC"
CELERY_DEFAULT_QUEUE = CELERY_TASK_DEFAULT_QUEUE = "vmsnap"

# Jobs. All in seconds.
JOB_HEARTBEAT_SECONDS = env.number("JOB_HEARTBEAT_SECONDS", 5, least=0.05, most=env.YEAR)
JOB_LOST_AFTER_SECONDS = env.number("JOB_LOST_AFTER_SECONDS", 30, least=0.1, most=env.YEAR)
JOB_RESEND_AFTER_SECONDS = env.number("JOB_RESEND_AFTER_SECONDS", 15, least=0.1, most=env.YEAR)
JOB_DEADLINE_SECONDS = env.number("JOB_DEADLINE_SECONDS", 3600, least=1, most=env.YEAR)
# How long a guest may take to shut down when asked, or to let go of a volume.
GUEST_ANSWER_SECONDS = env.number("GUEST_ANSWER_SECONDS", 180, least=1, most=env.YEAR)
# The longest a job or snapshot may stay in between after its worker or its answer was lost.
SETTLE_WITHIN_SECONDS = env.number("SETTLE_WITHIN_SECONDS", 900, least=1, most=env.YEAR)
SWEEP_EVERY_SECONDS = env.number("SWEEP_EVERY_SECONDS", 10, least=0.1, most=env.YEAR)
SYNC_EVERY_SECONDS = env.number("SYNC_EVERY_SECONDS", 30, least=1, most=env.YEAR)
# Silence after which a process that watches an endpoint counts as dead, and another one takes the endpoint over.
WATCH_LOST_AFTER_SECONDS = env.number("WATCH_LOST_AFTER_SECONDS", 20, least=0.1, most=env.YEAR)
HYPERVISOR_TIMEOUT_SECONDS = env.number("HYPERVISOR_TIMEOUT_SECONDS", 30, least=0.1, most=env.YEAR)
SNAPSHOTS_PER_MACHINE = env.whole("SNAPSHOTS_PER_MACHINE", 10, least=-1, most=env.MOST_OF_A_LIMIT)
# Limits where an account or a domain has none of its own; -1 does not limit. Sizes in bytes.
LIMIT_ACCOUNT_SNAPSHOTS = env.whole("LIMIT_ACCOUNT_SNAPSHOTS", -1, least=-1, most=env.MOST_OF_A_LIMIT)
LIMIT_ACCOUNT_BYTES = env.whole("LIMIT_ACCOUNT_BYTES", -1, least=-1, most=env.MOST_OF_A_LIMIT)
LIMIT_DOMAIN_SNAPSHOTS = env.whole("LIMIT_DOMAIN_SNAPSHOTS", -1, least=-1, most=env.MOST_OF_A_LIMIT)
LIMIT_DOMAIN_BYTES = env.whole("LIMIT_DOMAIN_BYTES", -1, least=-1, most=env.MOST_OF_A_LIMIT)
LIMIT_AGE_DAYS = env.whole("LIMIT_AGE_DAYS", -1, least=-1, most=env.CENTURY)
ADMINS_MAY_EXCEED_LIMITS = env.yes("ADMINS_MAY_EXCEED_LIMITS", False)
# How often VM snapshots that are too old are looked for.
EXPIRE_EVERY_SECONDS = env.number("EXPIRE_EVERY_SECONDS", 300, least=1, most=env.YEAR)
# How often it is looked what schedules are due for, and for how long what is due may still be taken late.
RUN_SCHEDULES_EVERY_SECONDS = env.number("RUN_SCHEDULES_EVERY_SECONDS", 30, least=0.1, most=env.YEAR)
SCHEDULE_LATE_SECONDS = env.number("SCHEDULE_LATE_SECONDS", 3600, least=60, most=env.YEAR)
# How often the books are compared with the rows.
CHECK_BOOKS_EVERY_SECONDS = env.number("CHECK_BOOKS_EVERY_SECONDS", 3600, least=1, most=env.YEAR)
IDEMPOTENCY_KEEP_HOURS = env.number("IDEMPOTENCY_KEEP_HOURS", 24, least=1, most=24 * env.CENTURY)

# Usage: how long the periods are that are billed, in which zone they begin, and how long after its end one is closed.
USAGE_PERIOD = env.choice("USAGE_PERIOD", "day", ("hour", "day", "month"))
USAGE_TIME_ZONE = env.zone("USAGE_TIME_ZONE", "UTC")
USAGE_CLOSE_AFTER_SECONDS = env.number("USAGE_CLOSE_AFTER_SECONDS", 300, most=env.YEAR)
# Storage pools: from where on a warning is shown and VM snapshots are refused, in percent of size × overcommit; a pool can
# have its own.
POOL_WARNING_PERCENT = env.whole("POOL_WARNING_PERCENT", 80, least=1, most=100)
POOL_THRESHOLD_PERCENT = env.whole("POOL_THRESHOLD_PERCENT", 90, least=1, most=100)
POOL_OVERCOMMIT = env.number("POOL_OVERCOMMIT", 1.0, least=0.01, most=1000)
# How often pools and accounts are sampled, and how long samples, and their roll-ups by hour and by day, are kept.
CAPACITY_SAMPLE_SECONDS = env.whole("CAPACITY_SAMPLE_SECONDS", 300, least=10, most=env.YEAR)
CAPACITY_RAW_KEEP_HOURS = env.whole("CAPACITY_RAW_KEEP_HOURS", 48, least=2, most=24 * env.CENTURY)
CAPACITY_HOURLY_KEEP_DAYS = env.whole("CAPACITY_HOURLY_KEEP_DAYS", 30, least=2, most=env.CENTURY)
CAPACITY_DAILY_KEEP_DAYS = env.whole("CAPACITY_DAILY_KEEP_DAYS", 730, least=2, most=env.CENTURY)
# What counts as stale: a VM snapshot this old, a machine with more than so many.
STALE_AFTER_DAYS = env.whole("STALE_AFTER_DAYS", 30, least=1, most=env.CENTURY)
STALE_PER_MACHINE = env.whole("STALE_PER_MACHINE", 5, least=1, most=1_000_000)

# What has to happen again and again, and after how many seconds.
TICKS = {
    "sweep_jobs": SWEEP_EVERY_SECONDS,
    "sync_due_hypervisors": SYNC_EVERY_SECONDS,
    "sample_capacity": CAPACITY_SAMPLE_SECONDS,
    "expire_snapshots": EXPIRE_EVERY_SECONDS,
    "take_scheduled_snapshots": RUN_SCHEDULES_EVERY_SECONDS,
    "prune_scheduled_snapshots": RUN_SCHEDULES_EVERY_SECONDS,
    "check_books": CHECK_BOOKS_EVERY_SECONDS,
    "close_usage_periods": 60,
}
# One that nobody took until the next is sent is dropped, so that they do not pile up.
CELERY_BEAT_SCHEDULE = {
    task: {"task": f"snapshots.{task}", "schedule": seconds, "options": {"expires": seconds}}
    for task, seconds in TICKS.items()
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"ids": {"()": "vmsnap_site.request_log.IdsFilter"}},
    "formatters": {"line": {"()": "vmsnap_site.request_log.OneLineFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "filters": ["ids"], "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.text("LOG_LEVEL", "INFO")},
    "loggers": {"django": {"handlers": [], "propagate": True}, "axes": {"level": "WARNING"}},
}
