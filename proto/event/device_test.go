package event_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"go.uber.org/goleak"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const at int64 = 1_795_341_850_123

// said is one message with an event of each type.
func said() event.Message {
	return event.Message{Keyed: true, Boot: 3, Seq: 17, Firmware: "2.4.1", Events: []event.Device{
		{TS: at, Type: event.Boot, Fields: map[string]any{"reason": "power_on", "count": int64(41)}},
		{TS: at + 1, Type: event.Heartbeat, Fields: map[string]any{"uptime_s": int64(12), "ok": true}},
		{TS: at + 2, Type: event.Crash, Fields: map[string]any{"reason": "hard_fault", "pc": int64(0x8001234), "uptime_s": int64(86_400)}},
		{TS: at + 3, Type: event.OSError, Fields: map[string]any{"code": int64(-5), "message": "i2c: no answer ü", "share": 0.25}},
		{TS: at + 4, Type: event.OTA, Fields: map[string]any{"from": "2.4.0", "to": "2.4.1", "result": "ok", "duration_ms": int64(8_123)}},
	}}
}

const saidJSON = `{"boot":3,"seq":17,"fw":"2.4.1","x":[{}],"events":[
	{"ts":1795341850123,"type":"boot","reason":"power_on","count":41},
	{"type":"heartbeat","ts":1795341850124,"uptime_s":12,"ok":true,"gone":null},
	{"ts":1795341850125,"type":"crash","reason":"hard_fault","pc":134222388,"uptime_s":86400},
	{"ts":1795341850126,"type":"os-error","code":-5,"message":"i2c: no answer \u00fc","share":0.25},
	{"ts":1795341850127.0,"type":"ota","from":"2.4.0","to":"2.4.1","result":"ok","duration_ms":8123}]}`

func TestDeviceEventsComeBack(t *testing.T) {
	want := said()
	value, err := want.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, parse := range map[string]func() (event.Message, error){
		"value":   func() (event.Message, error) { return event.DecodeMessage(value) },
		"json":    func() (event.Message, error) { return event.ParseDeviceJSON([]byte(saidJSON)) },
		"msgpack": func() (event.Message, error) { return event.ParseDeviceMsgPack(value) },
	} {
		got, err := parse()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	var doc map[string]any // any library reads it
	if err := msgpack.Unmarshal(value, &doc); err != nil || len(doc["events"].([]any)) != 5 {
		t.Errorf("%v, %v", doc, err)
	}
}

func TestDeviceEventsAreRefused(t *testing.T) {
	fields := ""
	for i := range event.MaxFields + 1 {
		fields += fmt.Sprintf(`,"f%d":1`, i)
	}
	one := func(rest string) string { return `{"events":[{"ts":1,"type":"boot"` + rest + `}]}` }
	for _, c := range []struct {
		name, body string
		code       batch.Code
		field      string
	}{
		{"empty", ``, batch.Malformed, "body"},
		{"a list", `[]`, batch.Malformed, "body"},
		{"nothing", `{}`, batch.Unprocessable, "events"},
		{"no events", `{"events":[]}`, batch.Unprocessable, "events"},
		{"a map of events", `{"events":{}}`, batch.Unprocessable, "events"},
		{"an event that is none", `{"events":[1]}`, batch.Unprocessable, "events[0]"},
		{"no ts", `{"events":[{"type":"boot"}]}`, batch.Unprocessable, "events[0].ts"},
		{"no type", `{"events":[{"ts":1}]}`, batch.Unprocessable, "events[0].type"},
		{"a type that is none", `{"events":[{"ts":1,"type":"reboot"}]}`, batch.Unprocessable, "events[0].type"},
		{"a crash without reason", `{"events":[{"ts":1,"type":"crash","pc":1}]}`, batch.Unprocessable, "events[0].reason"},
		{"an os-error without code", `{"events":[{"ts":1,"type":"os-error"}]}`, batch.Unprocessable, "events[0].code"},
		{"an ota without result", `{"events":[{"ts":1,"type":"ota","to":"2"}]}`, batch.Unprocessable, "events[0].result"},
		{"a list as a field", one(`,"a":[1]`), batch.Unprocessable, "events[0].a"},
		{"a number out of range", one(`,"a":1e999`), batch.Unprocessable, "events[0].a"},
		{"an integer above int64", one(`,"a":18446744073709551615`), batch.Unprocessable, "events[0].a"},
		{"a long text", one(`,"a":"` + strings.Repeat("x", 1025) + `"`), batch.Unprocessable, "events[0].a"},
		{"a name that is none", one(`,"A b":1`), batch.Unprocessable, "events[0]"},
		{"33 fields", one(fields), batch.TooLarge, "events[0]"},
		{"1,001 events", `{"events":[` + strings.Repeat(`{"ts":1,"type":"boot"},`, 1000) + `{"ts":1,"type":"boot"}]}`, batch.TooLarge, "events"},
		{"a field twice", one(`,"a":1,"a":2`), batch.Malformed, "key"},
		{"trailing bytes", one(``) + "1", batch.Malformed, "body"},
		{"boot without seq", `{"boot":1,"events":[{"ts":1,"type":"boot"}]}`, batch.Unprocessable, "seq"},
		{"a firmware with a line feed", `{"fw":"a\nb","events":[{"ts":1,"type":"boot"}]}`, batch.Unprocessable, "fw"},
		{"a later version", `{"v":2,"events":[{"ts":1,"type":"boot"}]}`, batch.UnknownVersion, "v"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := event.ParseDeviceJSON([]byte(c.body))
			e, ok := batch.AsError(err)
			if !ok || e.Code != c.code || e.Field != c.field {
				t.Fatalf("%v, want %s of %s", err, c.code, c.field)
			}
		})
	}
}

// show writes a message so that equal messages are equal texts.
func show(m event.Message) string {
	var s strings.Builder
	fmt.Fprintf(&s, "keyed=%v boot=%d seq=%d fw=%q\n", m.Keyed, m.Boot, m.Seq, m.Firmware)
	for _, e := range m.Events {
		fmt.Fprintf(&s, "%d %s", e.TS, e.Type)
		for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
			fmt.Fprintf(&s, " %s=%v(%T)", name, e.Fields[name], e.Fields[name])
		}
		s.WriteByte('\n')
	}
	return s.String()
}

// golden reads hex, then a line --, then what it means. The bytes are in logs that are kept for ever.
func golden(tb testing.TB, file string) (value []byte, means string) {
	tb.Helper()
	text, err := os.ReadFile("testdata/golden/" + file)
	if err != nil {
		tb.Fatal(err)
	}
	digits, means, _ := strings.Cut(string(text), "\n--\n")
	value, err = hex.DecodeString(strings.Join(strings.Fields(digits), ""))
	if err != nil {
		tb.Fatal(err)
	}
	return value, means
}

func TestGoldenDeviceEventsDecodeForEver(t *testing.T) {
	value, means := golden(t, "device.events")
	got, err := event.DecodeMessage(value)
	if err != nil || show(got) != means {
		t.Fatalf("%v\n%s", err, show(got))
	}
	m := said()
	if again, err := m.AppendTo(nil); err != nil || !bytes.Equal(again, value) {
		t.Errorf("%v: % x", err, again)
	}
}

func FuzzDeviceEvents(f *testing.F) {
	m := said()
	value, err := m.AppendTo(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add([]byte(saidJSON))
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, parse := range []func([]byte) (event.Message, error){event.ParseDeviceJSON, event.DecodeMessage} {
			m, err := parse(p)
			if err != nil {
				if e, ok := batch.AsError(err); !ok || e.Field == "" || e.Detail == "" {
					t.Fatalf("refused by %#v", err)
				}
				continue
			}
			value, err := m.AppendTo(nil)
			if err != nil {
				t.Fatal(err)
			}
			again, err := event.DecodeMessage(value)
			if err != nil || show(again) != show(m) {
				t.Fatalf("%v: %s became %s", err, show(m), show(again))
			}
		}
	})
}
