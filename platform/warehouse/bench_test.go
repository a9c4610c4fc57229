package warehouse_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster.dev/platform/warehouse"
	"muster.dev/platform/warehouse/native"
	"muster.dev/platform/warehouse/warehousetest"
	"muster.dev/proto/batch"
)

// plant is a profile of 20 metrics: quantised walks, counters, switches, a
// mode and two full-mantissa floats.
var plant = func() warehouse.Profile {
	p := warehouse.Profile{Name: "plant"}
	for i := range 12 {
		p.Metrics = append(p.Metrics, warehouse.Metric{Name: fmt.Sprint("gauge_", i), Kind: batch.Int, Scale: uint8(1 + i%2)})
	}
	for i := range 3 {
		p.Metrics = append(p.Metrics, warehouse.Metric{Name: fmt.Sprint("counter_", i), Kind: batch.Int})
	}
	return warehouse.Profile{Name: p.Name, Metrics: append(p.Metrics,
		warehouse.Metric{Name: "door", Kind: batch.Bool}, warehouse.Metric{Name: "alarm", Kind: batch.Bool},
		warehouse.Metric{Name: "mode", Kind: batch.Text},
		warehouse.Metric{Name: "drift_0", Kind: batch.Float}, warehouse.Metric{Name: "drift_1", Kind: batch.Float})}
}()

// walker is one device's state.
type walker struct{ gauges, counters [12]int64 }

// fleet makes the rows of a fleet in the order in which they arrive: every
// device in turn sends a message of five steps, ten seconds apart and jittered.
type fleet struct {
	r       *rand.Rand
	devices []walker
	turn    int
}

const stepsPerMessage = 5

func newFleet(n int) *fleet {
	return &fleet{r: rand.New(rand.NewPCG(1, 2)), devices: make([]walker, n)}
}

func (f *fleet) message(b *warehousetest.WideBlock) {
	no, round := f.turn%len(f.devices), f.turn/len(f.devices)
	d := &f.devices[no]
	id := b.Device.IDString(deviceName(uint32(no)))
	b.Device.FillID(id, stepsPerMessage)
	b.DeviceNo.Fill(uint32(no), stepsPerMessage)
	b.Class.Fill(0, stepsPerMessage)
	b.Firmware.FillID(b.Firmware.IDString("1.4.2"), stepsPerMessage)
	b.Append(1, uint16(no%4), uint64(f.turn), stepsPerMessage)
	for s := range stepsPerMessage {
		at := day0.Add(time.Duration(round*stepsPerMessage+s)*10*time.Second + time.Duration(f.r.IntN(40))*time.Millisecond)
		b.TS.Append(at.UnixMilli())
		for i := range 12 {
			if f.r.IntN(3) == 0 {
				d.gauges[i] += f.r.Int64N(5) - 2
			}
			b.Metrics[i].(*native.Nullable[int32]).Append(int32(2000 + d.gauges[i]))
		}
		for i := range 3 {
			d.counters[i] += f.r.Int64N(int64(10 + 100*i))
			b.Metrics[12+i].(*native.Nullable[int64]).Append(d.counters[i])
		}
		b.Metrics[15].(*native.Nullable[bool]).Append(f.r.IntN(50) == 0)
		b.Metrics[16].(*native.Nullable[bool]).Append(false)
		b.Metrics[17].(*native.Dictionary).AppendString([]string{"auto", "eco", "off"}[round/40%3])
		b.Metrics[18].(*native.Nullable[float64]).Append(f.r.NormFloat64())
		b.Metrics[19].(*native.Nullable[float64]).Append(float64(d.gauges[0]) * 1.1)
	}
	f.turn++
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkInsert says what a million samples cost the engine, which runs in
// this process, from prepared blocks, by the rows of a block: at first, and
// with the merges of the day after it; and the bytes that a sample takes.
func BenchmarkInsert(b *testing.B) {
	const total = 400_000
	for _, rows := range []int{20_000, 100_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w := warehousetest.Start(b)
				if err := w.EnsureProfile(b.Context(), plant); err != nil {
					b.Fatal(err)
				}
				f := newFleet(2000)
				var spent, merged time.Duration
				for n := range total / rows {
					block := warehousetest.NewWideBlock(plant)
					for block.Rows() < rows {
						f.message(block)
					}
					b.StartTimer()
					before := cpu(b)
					insert(b, w, block.Table, block.Block, fmt.Sprint("bench-", n))
					spent += cpu(b) - before
					b.StopTimer()
				}
				before := cpu(b)
				if err := w.Conn().Exec(b.Context(), "OPTIMIZE TABLE "+w.Database()+".w_plant FINAL"); err != nil {
					b.Fatal(err)
				}
				merged = cpu(b) - before
				size := scalar[uint64](b, w, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'w_plant' AND database = '"+w.Database()+"'")
				if n := scalar[uint64](b, w, "SELECT count() FROM "+w.Database()+".w_plant"); n != total {
					b.Fatalf("%d rows, want %d", n, total)
				}
				millions := float64(total*len(plant.Metrics)) / 1e6
				b.ReportMetric(spent.Seconds()/millions, "CPU-s/Msample")
				b.ReportMetric((spent+merged).Seconds()/millions, "CPU-s/Msample-merged")
				b.ReportMetric(float64(size)/millions/1e6, "B/sample")
				if testing.Verbose() {
					b.Log(columnSizes(b, w, "w_plant"))
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkLedger says what a message costs in the ledger.
func BenchmarkLedger(b *testing.B) {
	const total, rows, devices = 600_000, 20_000, 5000
	for b.Loop() {
		b.StopTimer()
		w := warehousetest.Start(b)
		r := rand.New(rand.NewPCG(3, 4))
		boots := make([]uint32, devices)
		for i := range boots {
			boots[i] = uint32(r.IntN(40))
		}
		var spent time.Duration
		for n := range total / rows {
			block := warehousetest.NewLedgerBlock()
			for i := range rows {
				off := n*rows + i
				no := r.IntN(devices)
				got := day0.UnixMilli() + int64(off)*3 + r.Int64N(3)
				block.Append(1, uint16(0), uint64(off), 1)
				block.Outcome.Append(warehousetest.Stored)
				block.DeviceNo.Append(uint32(no))
				block.Boot.Append(boots[no])
				block.Seq.Append(uint64(off/devices + r.IntN(3)))
				block.Hash.Append(r.Uint32())
				block.Got.Append(got)
				block.T0.Append(-60_000 + r.Int64N(500))
				block.T1.Append(-r.Int64N(500))
				block.N.Append(100)
				block.Faults.Append(0)
				block.Bytes.Append(uint32(350 + r.IntN(60)))
				block.StoredAt.Append(day0.UnixMilli() + int64(n+1)*rows*3)
			}
			b.StartTimer()
			before := cpu(b)
			insert(b, w, "ledger", block.Block, fmt.Sprint("bench-", n))
			spent += cpu(b) - before
			b.StopTimer()
		}
		if err := w.Conn().Exec(b.Context(), "OPTIMIZE TABLE "+w.Database()+".ledger FINAL"); err != nil {
			b.Fatal(err)
		}
		size := scalar[uint64](b, w, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'ledger' AND database = '"+w.Database()+"'")
		b.ReportMetric(spent.Seconds()/total*1e6, "CPU-s/Mmessage")
		b.ReportMetric(float64(size)/total, "B/message")
		if testing.Verbose() {
			b.Log(columnSizes(b, w, "ledger"))
		}
		b.StartTimer()
	}
}

func columnSizes(b *testing.B, w *warehouse.Warehouse, table string) string {
	b.Helper()
	rows, err := w.Conn().Query(b.Context(), "SELECT name, data_compressed_bytes FROM system.columns WHERE database = '"+w.Database()+"' AND table = '"+table+"' ORDER BY data_compressed_bytes DESC")
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	var s strings.Builder
	for rows.Next() {
		var name string
		var n uint64
		if err := rows.Scan(&name, &n); err != nil {
			b.Fatal(err)
		}
		fmt.Fprintf(&s, "%s %d, ", name, n)
	}
	return s.String()
}

// BenchmarkDuplicateState is what a sink waits for when it takes a partition
// over: 3 million messages of 20,000 devices, known by 20,000 boots.
func BenchmarkDuplicateState(b *testing.B) {
	w := warehousetest.Start(b)
	const total = 3_000_000
	if err := w.Conn().Exec(b.Context(), "INSERT INTO "+w.Database()+".ledger (topic_gen, part, off, outcome, device_no, boot, seq, hash, got)"+
		" SELECT 1, 0, number, 'stored', number % 20000, 1, intDiv(number, 20000), 1, toDateTime64('2026-11-20 00:00:00', 3, 'UTC') + number / 1000 FROM numbers(3000000) SETTINGS async_insert = 0"); err != nil {
		b.Fatal(err)
	}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			var boots int
			if err := w.DuplicateState(b.Context(), 1, 0, 0, total, func(s *warehouse.Seen) error {
				boots++
				if s.High != 149 || s.Bits[1] != 1<<64-1 {
					b.Fatalf("%+v", s)
				}
				return nil
			}); err != nil || boots != 20_000 {
				b.Fatal(boots, err)
			}
		}
	})
	b.Run("one-key", func(b *testing.B) {
		key := warehouse.Key{DeviceNo: 7, Boot: 1, Seq: 3}
		for b.Loop() {
			got, err := w.LookupKeys(b.Context(), 1, 0, total, []warehouse.Key{key})
			if err != nil || got[key].Off != 60_007 {
				b.Fatal(got, err)
			}
		}
	})
	b.Run("range", func(b *testing.B) {
		for b.Loop() {
			if rows, _, err := w.LedgerRange(b.Context(), 1, 0, 2_000_000, 2_019_999); err != nil || rows != 20_000 {
				b.Fatal(rows, err)
			}
		}
	})
}
