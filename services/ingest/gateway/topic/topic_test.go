package topic

import (
	"errors"
	"strings"
	"testing"
)

func TestTopicsSayWhoseAndWhat(t *testing.T) {
	for s, want := range map[string]Topic{
		"telemetry":               {},
		"events":                  {Events: true},
		"t":                       {},
		"e":                       {Events: true},
		"event":                   {Events: true},
		"telemetry/pump-7":        {Device: "pump-7"},
		"events/pump-7":           {Events: true, Device: "pump-7"},
		"t//pump-7":               {Device: "pump-7"},
		"e//pump-7":               {Events: true, Device: "pump-7"},
		"telemetry//pump-7":       {Device: "pump-7"},
		"event//pump-7":           {Events: true, Device: "pump-7"},
		"t/default/pump-7":        {Device: "pump-7"},
		"event/default/pump-7":    {Events: true, Device: "pump-7"},
		"v1/devices/me/telemetry": {Dialect: ThingsBoard},
		"v1/pump-7/telemetry":     {Dialect: Telegraf, Device: "pump-7"},
		"v1/devices/telemetry":    {Dialect: Telegraf, Device: "devices"},
		"t/?content-type=application%2Fjson&hono-ttl=30&on-error=ignore": {Bag: Bag{ContentType: "application/json", OnError: Ignore}},
		"event//pump-7/?on-error=skip-ack":                               {Events: true, Device: "pump-7", Bag: Bag{OnError: SkipAck}},
		"telemetry/?on-error=default":                                    {},
		"telemetry/?":                                                    {},
	} {
		if got, err := Parse(s); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", s, got, err, want)
		}
	}
}

func TestWhatIsNoTopicIsRefused(t *testing.T) {
	for s, want := range map[string]error{
		"":                                ErrUnknown,
		"/telemetry":                      ErrUnknown,
		"telemetry/a/b/c":                 ErrUnknown,
		"a/b/c/d/e/f/g":                   ErrUnknown,
		"e/pump-7":                        ErrUnknown, // Hono has no such
		"events//pump-7":                  ErrUnknown,
		"v1/devices/me/attributes":        ErrUnknown,
		"v1/devices/you/telemetry":        ErrUnknown,
		"v1":                              ErrUnknown,
		"$SYS/broker":                     ErrUnknown,
		"Telemetry":                       ErrUnknown,
		"t/?on-error=explode":             ErrUnknown,
		"t/?content-type=%zz":             ErrUnknown,
		"telemetry/":                      ErrDevice,
		"telemetry/..":                    ErrDevice,
		"telemetry/PUMP":                  ErrDevice,
		"telemetry/a%2fb":                 ErrDevice,
		"t//":                             ErrDevice,
		"t/acme/pump-7":                   ErrDevice, // another tenant
		"v1/%41/telemetry":                ErrDevice,
		"t/" + strings.Repeat("/", 60000): ErrUnknown,
	} {
		if got, err := Parse(s); !errors.Is(err, want) || got != (Topic{}) {
			t.Errorf("%.40q: %+v, %v; want %v", s, got, err, want)
		}
	}
}

func TestTheCommonTopicsCostNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { _, _ = Parse("telemetry") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
