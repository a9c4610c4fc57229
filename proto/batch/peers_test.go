package batch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/tinylib/msgp/msgp"
	"github.com/vmihailenco/msgpack/v5"

	"muster.dev/proto/batch"
)

// mapForm is the easy form as a program with vmihailenco/msgpack would declare it.
type mapForm struct {
	Boot     uint32    `msgpack:"boot"`
	Seq      uint64    `msgpack:"seq"`
	FW       string    `msgpack:"fw"`
	Readings []reading `msgpack:"readings"`
}

type reading struct {
	TS      int64              `msgpack:"ts"`
	Metrics map[string]float64 `msgpack:"metrics"`
}

// columns is the compact form as a program with vmihailenco/msgpack's streaming interface would read it.
type columns struct {
	times  []int64
	values [][]int64
}

func (c *columns) DecodeMsgpack(d *msgpack.Decoder) error {
	if _, err := d.DecodeArrayLen(); err != nil {
		return err
	}
	for range 3 {
		if _, err := d.DecodeInt64(); err != nil {
			return err
		}
	}
	if _, err := d.DecodeString(); err != nil {
		return err
	}
	base, err := d.DecodeInt64()
	if err != nil {
		return err
	}
	if c.times, err = ints(d, c.times[:0]); err != nil {
		return err
	}
	for i := range c.times {
		base += c.times[i]
		c.times[i] = base
	}
	if _, err = d.DecodeInt64(); err != nil {
		return err
	}
	n, err := d.DecodeArrayLen()
	if err != nil {
		return err
	}
	for len(c.values) < n {
		c.values = append(c.values, nil)
	}
	for i := range n {
		if _, err = d.DecodeArrayLen(); err != nil {
			return err
		}
		if _, err = d.DecodeInt64(); err != nil {
			return err
		}
		enc, err := d.DecodeInt64()
		if err != nil {
			return err
		}
		if c.values[i], err = ints(d, c.values[i][:0]); err != nil {
			return err
		}
		if enc >= 16 {
			for k := 1; k < len(c.values[i]); k++ {
				c.values[i][k] += c.values[i][k-1]
			}
		}
	}
	return nil
}

func ints(d *msgpack.Decoder, out []int64) ([]int64, error) {
	n, err := d.DecodeArrayLen()
	for i := 0; i < n && err == nil; i++ {
		var v int64
		v, err = d.DecodeInt64()
		out = append(out, v)
	}
	return out, err
}

// generatedForm reads the easy form as the code that msgp generates does.
type generatedForm struct {
	Boot     uint32
	Seq      uint64
	FW       string
	Readings []reading
}

func (z *generatedForm) UnmarshalMsg(p []byte) ([]byte, error) {
	fields, p, err := msgp.ReadMapHeaderBytes(p)
	for ; fields > 0 && err == nil; fields-- {
		var key []byte
		if key, p, err = msgp.ReadMapKeyZC(p); err != nil {
			break
		}
		switch msgp.UnsafeString(key) {
		case "boot":
			z.Boot, p, err = msgp.ReadUint32Bytes(p)
		case "seq":
			z.Seq, p, err = msgp.ReadUint64Bytes(p)
		case "fw":
			z.FW, p, err = msgp.ReadStringBytes(p)
		case "readings":
			var n uint32
			if n, p, err = msgp.ReadArrayHeaderBytes(p); err != nil {
				break
			}
			if cap(z.Readings) >= int(n) {
				z.Readings = z.Readings[:n]
			} else {
				z.Readings = make([]reading, n)
			}
			for i := range z.Readings {
				if p, err = z.Readings[i].unmarshalMsg(p); err != nil {
					break
				}
			}
		default:
			p, err = msgp.Skip(p)
		}
	}
	return p, err
}

func (z *reading) unmarshalMsg(p []byte) ([]byte, error) {
	fields, p, err := msgp.ReadMapHeaderBytes(p)
	for ; fields > 0 && err == nil; fields-- {
		var key []byte
		if key, p, err = msgp.ReadMapKeyZC(p); err != nil {
			break
		}
		switch msgp.UnsafeString(key) {
		case "ts":
			z.TS, p, err = msgp.ReadInt64Bytes(p)
		case "metrics":
			var n uint32
			if n, p, err = msgp.ReadMapHeaderBytes(p); err != nil {
				break
			}
			if z.Metrics == nil {
				z.Metrics = make(map[string]float64, n)
			}
			clear(z.Metrics)
			for ; n > 0 && err == nil; n-- {
				var name string
				var v float64
				if name, p, err = msgp.ReadStringBytes(p); err != nil {
					break
				}
				v, p, err = msgp.ReadFloat64Bytes(p)
				z.Metrics[name] = v
			}
		default:
			p, err = msgp.Skip(p)
		}
	}
	return p, err
}

var errOther = errors.New("decoded to other values")

const (
	benchSteps   = 5
	benchMetrics = 20
	benchSamples = benchSteps * benchMetrics
)

// easyOf gives the same batch in the easy form.
func easyOf(tb testing.TB, p []byte) []byte {
	tb.Helper()
	var b batch.Batch
	if err := b.Decode(p); err != nil {
		tb.Fatal(err)
	}
	form := mapForm{Boot: b.Boot, Seq: b.Seq, FW: string(b.Firmware)}
	index := names(benchMetrics)
	for step, ts := range b.Times {
		r := reading{TS: ts, Metrics: map[string]float64{}}
		for i := range b.Columns {
			c := &b.Columns[i]
			r.Metrics[index[c.Index]] = batch.Scaled(c.Ints[step], c.Scale)
		}
		form.Readings = append(form.Readings, r)
	}
	out, err := msgpack.Marshal(form)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func measure(b *testing.B, p []byte, decode func() error) {
	b.Helper()
	if err := decode(); err != nil { // grows what is reused
		b.Fatal(err)
	}
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if err := decode(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSamples, "ns/sample")
	b.ReportMetric(float64(len(p))/benchSamples, "wire-B/sample")
}

// BenchmarkDecode reads one batch of 100 samples, 5 steps of 20 metrics, by us and by the peers.
func BenchmarkDecode(b *testing.B) {
	p := fleetBatch(b, benchSteps, benchMetrics, 12, 1)
	tall := fleetBatch(b, 20, 5, 12, 1)
	easy := easyOf(b, p)
	var want batch.Batch
	if err := want.Decode(p); err != nil {
		b.Fatal(err)
	}
	last := want.Columns[benchMetrics-1]
	lastInt, lastValue := last.Ints[benchSteps-1], batch.Scaled(last.Ints[benchSteps-1], last.Scale)
	lastName := names(benchMetrics)[benchMetrics-1]

	b.Run("muster", func(b *testing.B) {
		var got batch.Batch
		measure(b, p, func() error {
			if err := got.Decode(p); err != nil {
				return err
			}
			if got.Values != benchSamples || got.Columns[benchMetrics-1].Ints[benchSteps-1] != lastInt {
				return errOther
			}
			return nil
		})
	})
	b.Run("muster-20-steps-of-5", func(b *testing.B) {
		var got batch.Batch
		measure(b, tall, func() error {
			if err := got.Decode(tall); err != nil || got.Values != benchSamples {
				return errors.Join(err, errOther)
			}
			return nil
		})
	})
	b.Run("muster-self-contained", func(b *testing.B) {
		own := fleetBatch(b, benchSteps, benchMetrics, 0, 1)
		var got batch.Batch
		measure(b, own, func() error {
			if err := got.Decode(own); err != nil || got.Values != benchSamples {
				return errors.Join(err, errOther)
			}
			return nil
		})
	})
	b.Run("muster-and-judge", func(b *testing.B) {
		var got batch.Batch
		var faults []batch.Fault
		measure(b, p, func() error {
			if err := got.Decode(p); err != nil {
				return err
			}
			if faults = got.Judge(faults[:0], at+60_000, false); len(faults) != 0 {
				return errOther
			}
			return nil
		})
	})
	b.Run("vmihailenco-custom-compact", func(b *testing.B) {
		var got columns
		d := msgpack.NewDecoder(nil)
		r := bytes.NewReader(p)
		measure(b, p, func() error {
			r.Reset(p)
			d.Reset(r)
			if err := got.DecodeMsgpack(d); err != nil {
				return err
			}
			if got.values[benchMetrics-1][benchSteps-1] != lastInt {
				return errOther
			}
			return nil
		})
	})
	b.Run("vmihailenco-reflection-map", func(b *testing.B) {
		measure(b, easy, func() error {
			var got mapForm
			if err := msgpack.Unmarshal(easy, &got); err != nil {
				return err
			}
			if got.Readings[benchSteps-1].Metrics[lastName] != lastValue {
				return errOther
			}
			return nil
		})
	})
	b.Run("tinylib-generated-map", func(b *testing.B) {
		var got generatedForm
		measure(b, easy, func() error {
			if _, err := got.UnmarshalMsg(easy); err != nil {
				return err
			}
			if got.Readings[benchSteps-1].Metrics[lastName] != lastValue {
				return errOther
			}
			return nil
		})
	})
}

// BenchmarkTranscode reads the same batch in the easy form and writes it compactly, as a gateway does for a device that
// sends JSON or MsgPack.
func BenchmarkTranscode(b *testing.B) {
	compact := fleetBatch(b, benchSteps, benchMetrics, 0, 1)
	easy := easyOf(b, fleetBatch(b, benchSteps, benchMetrics, 12, 1))
	var form mapForm
	if err := msgpack.Unmarshal(easy, &form); err != nil {
		b.Fatal(err)
	}
	readings := []map[string]any{}
	for _, r := range form.Readings {
		readings = append(readings, map[string]any{"ts": r.TS, "metrics": r.Metrics})
	}
	text, err := json.Marshal(map[string]any{"boot": form.Boot, "seq": form.Seq, "fw": form.FW, "readings": readings})
	if err != nil {
		b.Fatal(err)
	}
	for name, run := range map[string]struct {
		body  []byte
		parse func([]byte, *batch.Builder) error
	}{"json": {text, batch.ParseJSON}, "msgpack": {easy, batch.ParseMsgPack}} {
		b.Run(name, func(b *testing.B) {
			builder, out := batch.NewBuilder(), make([]byte, 0, 4096)
			measure(b, run.body, func() error {
				if err := run.parse(run.body, builder); err != nil {
					return err
				}
				p, err := builder.AppendTo(out)
				if err != nil || len(p) > len(compact)+len(compact)/8 {
					return errors.Join(err, errOther)
				}
				return nil
			})
		})
	}
}

// BenchmarkBuild writes a batch of 100 samples.
func BenchmarkBuild(b *testing.B) {
	var from batch.Batch
	p := fleetBatch(b, benchSteps, benchMetrics, 12, 1)
	if err := from.Decode(p); err != nil {
		b.Fatal(err)
	}
	index := names(benchMetrics)
	builder, out := batch.NewBuilder(), make([]byte, 0, 4096)
	measure(b, p, func() error {
		builder.Reset()
		builder.SetKey(from.Boot, from.Seq)
		builder.SetFirmware("2.4.1")
		builder.SetSchema(12, index)
		for step, ts := range from.Times {
			for i := range from.Columns {
				c := &from.Columns[i]
				builder.SetScaled(ts, index[c.Index], c.Ints[step], c.Scale)
			}
		}
		got, err := builder.AppendTo(out)
		if err != nil || !bytes.Equal(got, p) {
			return errors.Join(err, errOther)
		}
		return nil
	})
}
