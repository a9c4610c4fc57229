module muster.dev/services/anomaly

go 1.26.0

replace muster.dev/proto => ../../proto

replace muster.dev/platform => ../../platform

replace muster.dev/embedded => ../../embedded
