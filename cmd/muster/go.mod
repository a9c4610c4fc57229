module muster.dev/cmd/muster

go 1.26.0

require (
	github.com/ClickHouse/clickhouse-go/v2 v2.50.0
	github.com/cenkalti/backoff/v4 v4.3.0
	github.com/spf13/cobra v1.10.2
	github.com/twmb/franz-go v1.22.2
	github.com/twmb/franz-go/pkg/kadm v1.19.0
	github.com/twmb/franz-go/pkg/kmsg v1.15.0
	github.com/vmihailenco/msgpack/v5 v5.4.1
	go.uber.org/goleak v1.3.0
	go.yaml.in/yaml/v3 v3.0.6
	muster.dev/embedded v0.0.0
	muster.dev/fleet v0.0.0
	muster.dev/platform v0.0.0
	muster.dev/proto v0.0.0
	muster.dev/services/anomaly v0.0.0
	muster.dev/services/ingest v0.0.0
	muster.dev/services/registry v0.0.0
	muster.dev/services/retention v0.0.0
)

replace muster.dev/proto => ../../proto

replace muster.dev/platform => ../../platform

replace muster.dev/embedded => ../../embedded

replace muster.dev/services/ingest => ../../services/ingest

replace muster.dev/services/registry => ../../services/registry

replace muster.dev/services/anomaly => ../../services/anomaly

replace muster.dev/services/retention => ../../services/retention

replace muster.dev/fleet => ../../fleet
