//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"muster.dev/platform/warehouse"
	"muster.dev/proto/batch"
)

// samplesPerMessage of what devices send here: 11 steps of 5 metrics.
const samplesPerMessage = 55

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
	ca, err := os.ReadFile(filepath.Join(o.Dir, "ca.pem"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	senders := make([]*sender, o.Connections)
	for i := range senders {
		pem := filepath.Join(o.Dir, "device-"+deviceName(i))
		pair, err := tls.LoadX509KeyPair(pem+".pem", pem+".key")
		if err != nil {
			return err
		}
		c, err := tls.Dial("tcp", o.Addr, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{pair}})
		if err != nil {
			return err
		}
		defer c.Close()
		senders[i] = &sender{c: c, r: bufio.NewReaderSize(c, 1024), body: newBody(uint32(i))}
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

func run(senders []*sender, d drive) answers {
	var wg sync.WaitGroup
	for i, s := range senders {
		s.took = s.took[:0]
		wg.Go(func() {
			for more := d.pauses(i, len(senders)); more(); {
				if s.err != nil || s.send() != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	var a answers
	var took []time.Duration
	for _, s := range senders {
		took = append(took, s.took...)
		if s.err != nil {
			a.Failed++
			a.Said = s.err.Error()
		}
	}
	a.Sent = len(took)
	if slices.Sort(took); len(took) > 0 {
		a.P50, a.P99 = took[len(took)/2], took[len(took)*99/100]
	}
	return a
}

// sender is one device with its connection. It writes HTTP by hand: what devices cost is not what is measured.
type sender struct {
	c    *tls.Conn
	r    *bufio.Reader
	body *body
	out  []byte
	took []time.Duration
	err  error
}

func (s *sender) send() error {
	body := s.body.next()
	s.out = append(s.out[:0], "POST /v1/telemetry HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/vnd.muster.batch+msgpack\r\nContent-Length: "...)
	s.out = strconv.AppendInt(s.out, int64(len(body)), 10)
	s.out = append(append(s.out, "\r\n\r\n"...), body...)
	began := time.Now()
	if _, s.err = s.c.Write(s.out); s.err != nil {
		return s.err
	}
	if s.err = s.answer(); s.err == nil {
		s.took = append(s.took, time.Since(began))
	}
	return s.err
}

// answer reads a response, no further than to know that it is a good one.
func (s *sender) answer() error {
	length, good := 0, false
	for first := true; ; first = false {
		line, err := s.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first {
			good = bytes.HasPrefix(line, []byte("HTTP/1.1 200"))
		}
		if len(line) == 0 {
			break
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(v)); err != nil {
				return err
			}
		}
	}
	said := make([]byte, length)
	if _, err := io.ReadFull(s.r, said); err != nil {
		return err
	}
	if !good {
		return errors.New(string(said))
	}
	return nil
}

// body is a message whose seq is counted up in place.
type body struct {
	p   []byte
	seq uint64
}

// deviceMetrics is the profile of what devices send here.
var deviceMetrics = warehouse.Profile{Name: "bench_device", Metrics: []warehouse.Metric{
	{Name: "temp_c", Kind: batch.Int, Scale: 2}, {Name: "rssi_dbm", Kind: batch.Int}, {Name: "heap_free", Kind: batch.Int},
	{Name: "charging", Kind: batch.Bool}, {Name: "uptime_s", Kind: batch.Int},
}}

func newBody(device uint32) *body {
	b := batch.NewBuilder()
	now := time.Now()
	// Large enough to have a fixed width; another process is another boot.
	boot, seq := uint32(now.UnixNano())|0x8000_0000, uint64(1)<<40+uint64(device)<<24
	b.SetKey(boot, seq)
	b.SetFirmware("1.2.3")
	for i := range int64(11) {
		at := now.UnixMilli() - (10-i)*1000
		b.SetScaled(at, "temp_c", 2150+i, 2)
		b.SetInt(at, "rssi_dbm", -70-i%3)
		b.SetInt(at, "heap_free", 100_000-i*17)
		b.SetBool(at, "charging", i%2 == 0)
		b.SetInt(at, "uptime_s", 1000+i)
	}
	if b.Len() != samplesPerMessage {
		panic("not the samples that were meant")
	}
	p, err := b.AppendTo(nil)
	if err != nil {
		panic(err) // of the benchmark's own making
	}
	if p[7] != 0xcf || binary.BigEndian.Uint64(p[8:]) != seq {
		panic("the seq is not where it was")
	}
	return &body{p: p, seq: seq}
}

func (b *body) next() []byte {
	b.seq++
	binary.BigEndian.PutUint64(b.p[8:], b.seq)
	return b.p
}
