#!/bin/bash
# The first administrator comes from the secret that the bootstrap made; everything else from its flags.
# Not in development mode, which skips fsync; write caching is off in bootstrap.yaml for the same reason.
set -eu
RP_BOOTSTRAP_USER="admin:$(cat /identity/redpanda/kafka-admin):SCRAM-SHA-256"
export RP_BOOTSTRAP_USER
exec rpk redpanda start --check=false --smp 1 --memory 1G --reserve-memory 0M --overprovisioned \
  --kafka-addr internal://0.0.0.0:9092,external://0.0.0.0:19092 \
  --advertise-kafka-addr internal://redpanda:9092,external://127.0.0.1:9092 \
  --rpc-addr redpanda:33145 --advertise-rpc-addr redpanda:33145
