"""What is counted (SPEC 7). Labels are kind, step, outcome and the like, never a user or an app (STYLE 18)."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)

HTTP_REQUESTS = Counter("http_requests_total", "HTTP requests", ["method", "endpoint", "status"])
HTTP_SECONDS = Histogram(
    "http_request_duration_seconds", "HTTP request time", ["method", "endpoint"], buckets=_FAST
)
USERS = Gauge("user_total", "Accounts")
LOGINS = Counter("user_login_total", "Log-ins", ["outcome"])
APPS = Gauge("app_total", "Apps by phase", ["phase"])
OPERATIONS = Counter("operations_total", "Ended operations", ["kind", "outcome"])
OPERATION_SECONDS = Histogram("operation_duration_seconds", "From asked to ended", ["kind"], buckets=_SLOW)
OPERATION_STEP_SECONDS = Histogram(
    "operation_step_duration_seconds", "One step of an operation", ["kind", "step"], buckets=_SLOW
)
RUNTIME_UP = Gauge("runtime_connection_status", "Whether the runtime answers: 1 or 0")
CHAT_UPDATES = Counter("chat_updates_total", "Handled chat inputs", ["surface", "outcome"])
CHAT_SECONDS = Histogram("chat_handling_seconds", "Time to answer a chat input", ["surface"], buckets=_FAST)
