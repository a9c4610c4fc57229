module muster.dev/services/anomaly

go 1.26.0

require (
	go.uber.org/goleak v1.3.0
	muster.dev/embedded v0.0.0
	muster.dev/platform v0.0.0
	muster.dev/proto v0.0.0
)

replace muster.dev/proto => ../../proto

replace muster.dev/platform => ../../platform

replace muster.dev/embedded => ../../embedded
