module muster.dev/fleet

go 1.26.0

require (
	github.com/cenkalti/backoff/v4 v4.3.0
	github.com/prometheus/client_golang v1.25.0
	github.com/twmb/franz-go v1.22.2
	github.com/twmb/franz-go/pkg/kadm v1.19.0
	github.com/twmb/franz-go/pkg/kmsg v1.15.0
	github.com/vmihailenco/msgpack/v5 v5.4.1
	go.uber.org/goleak v1.3.0
	muster.dev/embedded v0.0.0
	muster.dev/platform v0.0.0
	muster.dev/proto v0.0.0
)

replace muster.dev/proto => ../proto

replace muster.dev/platform => ../platform

replace muster.dev/embedded => ../embedded
