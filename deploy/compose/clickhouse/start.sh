#!/bin/bash
# The services' password comes from the secret that the bootstrap made.
set -eu
MUSTER_CLICKHOUSE_SECRET="$(cat /identity/clickhouse/clickhouse-service)"
export MUSTER_CLICKHOUSE_SECRET CLICKHOUSE_SKIP_USER_SETUP=1
exec /entrypoint.sh
