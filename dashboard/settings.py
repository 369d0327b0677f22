"""Django settings. Every value comes from the environment with the prefix HONE_; .env.example lists them all."""

import os
import secrets
from pathlib import Path

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from dashboard import env

BASE_DIR = Path(__file__).resolve().parent.parent

HONE_HOME = Path(env.text("HOME", str(BASE_DIR / "var"))).resolve()
HONE_HOME.mkdir(mode=0o700, parents=True, exist_ok=True)  # the database holds hashes of passwords and keys
HONE_HOST = env.text("HOST", "127.0.0.1")
HONE_PORT = env.integer("PORT", 8000)
HONE_ORG = env.text("ORG", "hone")
HONE_TRAIN_GPUS = env.words("TRAIN_GPUS")
HONE_DEVICES_PER_JOB = env.integer("DEVICES_PER_JOB", 1)
HONE_SERVE_GPUS = env.words("SERVE_GPUS")
HONE_SERVE_GPU_FRACTION = env.number("SERVE_GPU_FRACTION", 0.4)
HONE_SERVE_MEMORY_GB = env.number("SERVE_MEMORY_GB", 0)  # 0: a share of what the machine has
HONE_SHARED_DEVICE = env.text("SHARED_DEVICE", "share")  # one of playground.sharing.RULES
HONE_ANSWER_SECONDS = env.integer("ANSWER_SECONDS", 3600)  # for one answer of a model, to its last token; 0: no limit
HONE_REQUESTS_AT_ONCE = env.integer("REQUESTS_AT_ONCE", 0)  # of one vLLM; 0: as many as it is started for
HONE_VLLM_PYTHON = env.text("VLLM_PYTHON")  # empty: the interpreter that runs Hone
HONE_HUB = env.text("HUB", "https://huggingface.co")
HONE_HUB_TOKEN = env.text("HUB_TOKEN")  # for models whose terms must be accepted first
HONE_OFFLINE = env.boolean("OFFLINE", False)
HONE_STARTER = env.boolean("STARTER", True)
HONE_LEASE_SECONDS = env.number("LEASE_SECONDS", 20)
HONE_GRACE_SECONDS = env.integer("GRACE_SECONDS", 60)  # for a trainer to write its resume point before it is killed
HONE_TRAINER_MODULE = env.text("TRAINER_MODULE", "")
HONE_MAX_FILE_GB = env.number("MAX_FILE_GB", 8)
HONE_TEXT_FOLDERS = env.words("TEXT_FOLDERS")  # folders of this server that datasets of raw text may lie in
HONE_WANDB_URL = env.text("WANDB_URL")  # of a W&B server of one's own; empty: wandb.ai
HONE_RATE_REQUESTS_PER_MINUTE = env.integer("RATE_REQUESTS_PER_MINUTE", 10_000)  # 0: no limit
HONE_RATE_TOKENS_PER_MINUTE = env.integer("RATE_TOKENS_PER_MINUTE", 10_000_000)
HONE_PRICE_MILLION_TOKENS = env.number("PRICE_MILLION_TOKENS", 0)  # 0: no price is shown
HONE_PRICE_DEVICE_HOUR = env.number("PRICE_DEVICE_HOUR", 0)
HONE_PRICE_MILLION_PROMPT_TOKENS = env.number("PRICE_MILLION_PROMPT_TOKENS", 0)  # of answering; 0: none is shown
HONE_PRICE_MILLION_ANSWER_TOKENS = env.number("PRICE_MILLION_ANSWER_TOKENS", 0)
HONE_AUDIT_DAYS = env.integer("AUDIT_DAYS", 400)  # 0: rows of the audit log are kept for ever
HONE_PROJECT_JOBS = env.integer("PROJECT_JOBS", 0)  # of one project that train at once; 0: no limit, as in these:
HONE_PROJECT_WAITING = env.integer("PROJECT_WAITING", 0)
HONE_PROJECT_DISK_GB = env.number("PROJECT_DISK_GB", 0)
HONE_PRICE_CURRENCY = env.text("PRICE_CURRENCY", "$")

if HONE_DEVICES_PER_JOB < 1 or (HONE_TRAIN_GPUS and len(HONE_TRAIN_GPUS) < HONE_DEVICES_PER_JOB):
    raise ImproperlyConfigured(
        f"HONE_DEVICES_PER_JOB={HONE_DEVICES_PER_JOB}: at least 1, and no more than the {len(HONE_TRAIN_GPUS)} GPUs of "
        "HONE_TRAIN_GPUS"
    )
if HONE_SHARED_DEVICE not in ("share", "serving-waits", "training-pauses"):
    raise ImproperlyConfigured(
        f"HONE_SHARED_DEVICE={HONE_SHARED_DEVICE!r}: one of share, serving-waits, training-pauses"
    )
if not HONE_ORG.replace("-", "").isalnum():
    raise ImproperlyConfigured(f"HONE_ORG={HONE_ORG!r}: letters, digits and hyphens only; it stands in model names")


def _secret_key() -> str:
    """The given key, else one made on the first start and kept beside the data, readable by the owner only."""
    given = env.text("SECRET_KEY")
    if given:
        return given
    path = HONE_HOME / "secret-key"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    return path.read_text()


SECRET_KEY = _secret_key()
DEBUG = env.boolean("DEBUG", False)
# a server that only this machine reaches answers to its own names only; any other is told by whoever opens it up
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "127.0.0.1,localhost" if HONE_HOST in {"127.0.0.1", "localhost"} else "*")
CSRF_TRUSTED_ORIGINS = env.words("TRUSTED_ORIGINS")
# where people reach the site, for links in e-mails and of manage.py; empty: where it runs (accounts.running)
HONE_URL = env.text("URL") or next(iter(CSRF_TRUSTED_ORIGINS), "")

INSTALLED_APPS = [
    "daphne",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "django_htmx",
    "django_dramatiq",
    "template_partials",
    "accounts",
    "training",
    "playground",
    "dashboard",
]

MIDDLEWARE = [
    "dashboard.middleware.ApiAnswers",
    "dashboard.middleware.DiskFullPage",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.LoginRequired",
    "accounts.middleware.CurrentProject",
    "dashboard.walls.Walls",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "dashboard.audit.middleware.Audited",
]

API_MIDDLEWARE = [
    "dashboard.middleware.ApiAnswers",
    "dashboard.audit.middleware.Audited",
]  # all that /v1 needs; see dashboard.asgi

ROOT_URLCONF = "dashboard.urls"
ASGI_APPLICATION = "dashboard.asgi.application"

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
                "dashboard.context.frame",
            ],
            "builtins": ["dashboard.templatetags.figures"],
        },
    }
]

# Rows: SQLite in WAL mode, or Postgres by HONE_DATABASE_URL.
_DATABASE_URL = env.text("DATABASE_URL")
if _DATABASE_URL:
    DATABASES = {"default": dj_database_url.parse(_DATABASE_URL, conn_max_age=60, conn_health_checks=True)}
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": HONE_HOME / "db.sqlite3",
            "CONN_MAX_AGE": 60,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Queue and channel layer: embedded, or Redis by HONE_REDIS_URL.
HONE_REDIS_URL = env.text("REDIS_URL")
if HONE_REDIS_URL:
    DRAMATIQ_BROKER = {
        "BROKER": "dramatiq.brokers.redis.RedisBroker",
        # maintenance on every command, short heartbeats: a killed worker's message comes back in seconds
        "OPTIONS": {"url": HONE_REDIS_URL, "maintenance_chance": 1_000_000, "heartbeat_timeout": 5_000},
        "MIDDLEWARE": [],
    }
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            # redis-py 8 closes idle sockets after 5 s unless told otherwise
            "CONFIG": {"hosts": [{"address": HONE_REDIS_URL, "socket_timeout": 30}]},
        }
    }
else:
    DRAMATIQ_BROKER = {
        "BROKER": "training.broker.SQLiteBroker",
        "OPTIONS": {"path": str(HONE_HOME / "queue.sqlite3")},
        "MIDDLEWARE": [],
    }
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "dashboard.channel_layer.LocalSocketLayer",
            "CONFIG": {"path": str(HONE_HOME / "sockets")},
        }
    }
DRAMATIQ_BROKER["MIDDLEWARE"] = [
    "dramatiq.middleware.AgeLimit",
    "dramatiq.middleware.TimeLimit",
    "dramatiq.middleware.ShutdownNotifications",
    "dramatiq.middleware.Retries",
    "dramatiq.middleware.Callbacks",
    "dramatiq.middleware.Pipelines",
    "django_dramatiq.middleware.DbConnectionsMiddleware",
    "training.workers.Wakeful",  # looks for work whose message was lost, and tells the actors of a shutdown
]
DRAMATIQ_AUTODISCOVER_MODULES = ["tasks"]

AUTH_USER_MODEL = "accounts.User"
SERVE_GUARD = "playground.guarding.serve"  # moderation, below the playground, has a guard model served by it
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "sign-in"
SESSION_COOKIE_AGE = 30 * 24 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.boolean("HTTPS", False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.boolean("HTTPS", False) else None
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "manifest-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True  # served straight from static/: no collectstatic step
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 << 20  # one upload chunk is 8 MiB
EMAIL_HOST = env.text("EMAIL_HOST")  # empty: no e-mail is sent, owners make reset links
EMAIL_PORT = env.integer("EMAIL_PORT", 587)
EMAIL_HOST_USER = env.text("EMAIL_USER")
EMAIL_HOST_PASSWORD = env.text("EMAIL_PASSWORD")
EMAIL_USE_TLS = env.boolean("EMAIL_TLS", True)
EMAIL_TIMEOUT = 20  # seconds
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", "hone@localhost")
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'console'}.EmailBackend"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.text("LOG_LEVEL", "INFO")},
    "loggers": {"daphne": {"level": "WARNING"}, "django.channels.server": {"level": "WARNING"}},
}
