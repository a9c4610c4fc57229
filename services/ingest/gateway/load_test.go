package gateway_test

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

	"muster.dev/embedded/kafka"
	"muster.dev/proto/batch"
)

// loadOrder is what the benchmark asks of the process that plays the devices.
type loadOrder struct {
	Dir         string // of the certificates
	Addr        string
	Connections int
	Messages    int
	Rate        int
}

// loadReport is what it answers.
type loadReport struct {
	Failed   int
	Said     string // the first failure
	P50, P99 time.Duration
}

// playPart is the main function of the benchmark's other processes. Each ends when its input does.
func playPart(name string) int {
	var err error
	switch name {
	case "broker":
		err = playBroker()
	case "gateway":
		err = playGateway()
	case "load":
		err = playLoad()
	default:
		err = fmt.Errorf("no part %q", name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		return 1
	}
	return 0
}

func playBroker() error {
	b, err := kafka.Start(kafka.Config{Listen: "127.0.0.1:0", NoAuth: true})
	if err != nil {
		return err
	}
	defer b.Close()
	fmt.Println(b.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func playLoad() error {
	in := json.NewDecoder(os.Stdin)
	var o loadOrder
	if err := in.Decode(&o); err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(o.Dir, "ca.pem"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	senders := make([]*sender, o.Connections)
	for i := range senders {
		base := filepath.Join(o.Dir, "device-bench-"+strconv.Itoa(i))
		pair, err := tls.LoadX509KeyPair(base+".pem", base+".key")
		if err != nil {
			return err
		}
		c, err := tls.Dial("tcp", o.Addr, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{pair}})
		if err != nil {
			return err
		}
		defer c.Close()
		senders[i] = &sender{c: c, r: bufio.NewReaderSize(c, 1024), body: newLoadBody(uint32(i))}
	}
	run(senders, o.Messages/5, o.Rate)
	fmt.Println("warm")
	var word string
	if err := in.Decode(&word); err != nil {
		return err
	}
	for _, s := range senders {
		s.took = s.took[:0]
	}
	run(senders, o.Messages, o.Rate)
	var report loadReport
	var took []time.Duration
	for _, s := range senders {
		took = append(took, s.took...)
		if s.err != nil {
			report.Said = s.err.Error()
		}
	}
	report.Failed = o.Messages/o.Connections*o.Connections - len(took)
	if slices.Sort(took); len(took) > 0 {
		report.P50, report.P99 = took[len(took)/2], took[len(took)*99/100]
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// run has each sender send its share, all at once, each after its last answer.
func run(senders []*sender, messages, rate int) {
	var wg sync.WaitGroup
	pause := time.Duration(0)
	if rate > 0 {
		pause = time.Duration(float64(time.Second) * float64(len(senders)) / float64(rate))
	}
	for i, s := range senders {
		wg.Go(func() {
			next := time.Now().Add(pause * time.Duration(i) / time.Duration(len(senders)))
			for range messages / len(senders) {
				if pause > 0 {
					<-time.After(time.Until(next))
					next = next.Add(pause)
				}
				if s.err != nil || s.send() != nil {
					return
				}
			}
		})
	}
	wg.Wait()
}

type sender struct {
	c    *tls.Conn
	r    *bufio.Reader
	body *loadBody
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

// answer reads a response and no more than is needed to tell that it is a good one.
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
	if good {
		_, err := s.r.Discard(length)
		return err
	}
	said := make([]byte, length)
	if _, err := io.ReadFull(s.r, said); err != nil {
		return err
	}
	return errors.New(string(said))
}

// loadBody is a message whose seq is counted up in place.
type loadBody struct {
	p   []byte
	seq uint64
}

func newLoadBody(conn uint32) *loadBody {
	b := batch.NewBuilder()
	now := time.Now()
	// Large enough to have a fixed width: another process with another boot for each run.
	boot, seq := uint32(now.UnixNano())|0x8000_0000, uint64(1)<<40+uint64(conn)<<24
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
	p, err := b.AppendTo(nil)
	if err != nil {
		panic(err) // of the benchmark's own making
	}
	if p[7] != 0xcf || binary.BigEndian.Uint64(p[8:]) != seq {
		panic("the seq is not where it was")
	}
	return &loadBody{p: p, seq: seq}
}

func (b *loadBody) next() []byte {
	b.seq++
	binary.BigEndian.PutUint64(b.p[8:], b.seq)
	return b.p
}
