"""Settings of the test run: fast hashes, tasks carried out in place, a data folder of the run's own."""

import atexit
import os
import shutil
import tempfile

if "VMSNAP_DATA_DIR" not in os.environ:
    made = tempfile.mkdtemp(prefix="vmsnap-test-")
    os.environ["VMSNAP_DATA_DIR"] = made
    atexit.register(shutil.rmtree, made, ignore_errors=True)

from vmsnap_site.settings import *  # noqa: F403  # the folder must be named before the settings are read

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CELERY_TASK_ALWAYS_EAGER = True
CELERY_TASK_EAGER_PROPAGATES = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
REST_FRAMEWORK = {**REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": {"user": "100000/min"}}  # noqa: F405  # from the star import
AXES_ENABLED = False
LOGGING_CONFIG = None
STATIC_ROOT.mkdir(exist_ok=True)  # noqa: F405  # from the star import; nothing is gathered, files come from the finders
