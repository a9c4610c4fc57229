//go:build linux

package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"muster.dev/platform/warehouse"
	"muster.dev/proto/batch"
	"muster.dev/services/ingest/gateway/gatewaytest"
)

// samplesPerMessage of what devices send here.
const samplesPerMessage = gatewaytest.SamplesPerMessage

// drive is what the devices are told, once they are connected: for how long to send, and how many messages a second over
// all; 0 is as many as there can be.
type drive struct {
	For  time.Duration
	Rate float64
}

// pauses are the times at which one of n senders sends.
func (d drive) pauses(i, n int) (next func() (more bool)) {
	began := time.Now()
	if d.Rate == 0 {
		return func() bool { return time.Since(began) < d.For }
	}
	each := time.Duration(float64(time.Second) * float64(n) / d.Rate)
	at := each * time.Duration(i) / time.Duration(n)
	return func() bool {
		if at > d.For {
			return false
		}
		<-time.After(time.Until(began.Add(at)))
		at += each
		return true
	}
}

// answers are what became of the messages.
type answers struct {
	Sent     int
	Failed   int
	Said     string // the first failure
	P50, P99 time.Duration
}

// playDevices connects as many devices as it is told, and lets each send its share of a drive, each message after the
// answer to the one before.
func playDevices(o order, in *json.Decoder) error {
	senders := make([]*gatewaytest.Sender, o.Connections)
	for i := range senders {
		s, err := gatewaytest.Connect(o.Dir, deviceName(i), o.Addr, i)
		if err != nil {
			return err
		}
		defer s.Close()
		senders[i] = s
	}
	fmt.Println("connected")
	for {
		var d drive
		if err := in.Decode(&d); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(run(senders, d)); err != nil {
			return err
		}
	}
}

func run(senders []*gatewaytest.Sender, d drive) answers {
	var wg sync.WaitGroup
	for i, s := range senders {
		s.Took = s.Took[:0]
		wg.Go(func() {
			for more := d.pauses(i, len(senders)); more(); {
				if s.Err != nil || s.Send() != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	var a answers
	var took []time.Duration
	for _, s := range senders {
		took = append(took, s.Took...)
		if s.Err != nil {
			a.Failed++
			a.Said = s.Err.Error()
		}
	}
	a.Sent = len(took)
	if slices.Sort(took); len(took) > 0 {
		a.P50, a.P99 = took[len(took)/2], took[len(took)*99/100]
	}
	return a
}

// deviceMetrics is the profile of what devices send here.
var deviceMetrics = warehouse.Profile{Name: "bench_device", Metrics: []warehouse.Metric{
	{Name: "temp_c", Kind: batch.Int, Scale: 2}, {Name: "rssi_dbm", Kind: batch.Int}, {Name: "heap_free", Kind: batch.Int},
	{Name: "charging", Kind: batch.Bool}, {Name: "uptime_s", Kind: batch.Int},
}}
