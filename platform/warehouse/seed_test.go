package warehouse_test

import (
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/native"
	"muster.dev/platform/warehouse/warehousetest"
)

// day0 is the first instant of the seeded data.
var day0 = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

func insert(t testing.TB, w *warehouse.Warehouse, table string, b *native.Block, token string) {
	t.Helper()
	if err := tryInsert(t, w, table, b, token); err != nil {
		t.Fatal(err)
	}
}

func tryInsert(t testing.TB, w *warehouse.Warehouse, table string, b *native.Block, token string) error {
	t.Helper()
	in, err := warehousetest.InsertOf(table, b, token, token)
	if err != nil {
		t.Fatal(err)
	}
	return w.Insert(t.Context(), in)
}

// message is a row of the ledger as the tests write it.
type message struct {
	off      uint64
	outcome  int8
	device   uint32
	boot     uint32
	seq      uint64
	n, fault uint32
}

func ledger(gen, part uint16, list ...message) *native.Block {
	b := warehousetest.NewLedgerBlock()
	for _, m := range list {
		got := day0.Add(time.Duration(m.off) * time.Second).UnixMilli()
		b.Append(gen, part, m.off, 1)
		b.Outcome.Append(m.outcome)
		b.DeviceNo.Append(m.device)
		b.Boot.Append(m.boot)
		b.Seq.Append(m.seq)
		b.Hash.Append(uint32(m.off) * 3)
		b.Got.Append(got)
		b.T0.Append(-2000)
		b.T1.Append(-1000)
		b.N.Append(m.n)
		b.Faults.Append(m.fault)
		b.Bytes.Append(400)
		b.StoredAt.Append(got + 1500)
	}
	return b.Block
}

func deviceName(no uint32) string { return fmt.Sprintf("sim-%05d", no) }

func devices(t testing.TB, w *warehouse.Warehouse, n uint32) {
	t.Helper()
	b := warehousetest.NewDeviceBlock()
	for no := uint32(1); no <= n; no++ {
		b.Append(0, 0, uint64(no), 1)
		b.No.Append(no)
		b.Device.AppendString(deviceName(no))
		b.Cohort.AppendString("stable")
		b.Profile.AppendString("env")
		b.Region.AppendString("eu")
		b.IntervalMS.Append(60_000)
		b.EnrolledAt.Append(day0.UnixMilli())
	}
	b.PadTo(int(n))
	insert(t, w, "device_rows", b.Block, "devices")
}

// wide fills a block of the profile env: rows steps of one minute of each
// device, from a time on.
func wide(b *warehousetest.WideBlock, from time.Time, first, count uint32, steps int, off uint64) {
	for no := first; no < first+count; no++ {
		id := b.Device.IDString(deviceName(no))
		fw := b.Firmware.IDString("1.4." + string(rune('0'+no%3)))
		b.DeviceNo.Fill(no, steps)
		b.Device.FillID(id, steps)
		b.Firmware.FillID(fw, steps)
		b.Class.Fill(0, steps)
		b.Append(1, uint16(no%4), off+uint64(no), steps)
		for s := range steps {
			b.TS.Append(from.Add(time.Duration(s) * time.Minute).UnixMilli())
			phase := float64(s)/200 + float64(no)
			b.Metrics[0].(*native.Nullable[int32]).Append(int32(2000 + 500*math.Sin(phase)))
			b.Metrics[1].(*native.Nullable[int64]).Append(int64(s) * 60)
			if s%10 == 0 {
				b.Metrics[2].(*native.Nullable[float64]).Append(math.Sin(phase) / 3)
			} else {
				b.Metrics[2].(*native.Nullable[float64]).AppendNull()
			}
			b.Metrics[3].(*native.Nullable[bool]).Append(s%7 == 0)
			b.Metrics[4].(*native.Dictionary).AppendString([]string{"auto", "eco"}[s/300%2])
			b.Metrics[5].(*native.Nullable[int32]).Append(int32(s % 5))
		}
	}
}

func other(gen, part uint16, off uint64, no uint32, metric string, ts time.Time, value float64) *native.Block {
	b := warehousetest.NewOtherBlock()
	b.Append(gen, part, off, 1)
	b.Class.Append(0)
	b.Metric.AppendString(metric)
	b.DeviceNo.Append(no)
	b.Device.AppendString(deviceName(no))
	b.TS.Append(ts.UnixMilli())
	b.Value.Append(value)
	b.Int.AppendNull()
	b.Text.AppendString("")
	b.Scale.Append(warehousetest.ScaleFloat)
	b.Firmware.AppendString("1.4.0")
	return b.Block
}

func scalar[T any](t testing.TB, w *warehouse.Warehouse, query string) T {
	t.Helper()
	var v T
	if err := w.Conn().QueryRow(t.Context(), query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func newValue(t reflect.Type) any { return reflect.New(t).Interface() }

func elem(pointer any) any { return reflect.ValueOf(pointer).Elem().Interface() }
