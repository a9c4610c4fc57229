package gatewaytest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Sender is one device with its connection. It writes HTTP by hand, so that a process that plays a thousand of them
// costs little beside what is measured.
type Sender struct {
	Took []time.Duration // from each message to its good answer
	Err  error           // the first failure, after which nothing is sent

	c       *tls.Conn
	r       *bufio.Reader
	out     []byte
	message *Message
}

// Connect opens the connection of an Authority's device. Any process that reads the authority's folder may; number tells
// senders apart.
func Connect(dir, device, addr string, number int) (*Sender, error) {
	return ConnectOf(dir, device, addr, number, SamplesPerMessage/MetricsPerStep)
}

// ConnectOf is Connect of one whose messages have so many steps.
func ConnectOf(dir, device, addr string, number, steps int) (*Sender, error) {
	c, err := dial(dir, device, addr)
	if err != nil {
		return nil, err
	}
	return &Sender{c: c, r: bufio.NewReaderSize(c, 1024), message: NewMessageOf(number, steps)}, nil
}

func dial(dir, device, addr string) (*tls.Conn, error) {
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	file := filepath.Join(dir, "device-"+device)
	pair, err := tls.LoadX509KeyPair(file+".pem", file+".key")
	if err != nil {
		return nil, fmt.Errorf("read the identity of %s: %w", device, err)
	}
	c, err := tls.Dial("tcp", addr, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{pair}})
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", device, err)
	}
	return c, nil
}

// Close ends the connection.
func (s *Sender) Close() error { return s.c.Close() }

// Taken is Took and Err.
func (s *Sender) Taken() (*[]time.Duration, error) { return &s.Took, s.Err }

// Send sends the next message and waits for its answer.
func (s *Sender) Send() error {
	body := s.message.Next()
	s.out = append(s.out[:0], "POST /v1/telemetry HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/vnd.muster.batch+msgpack\r\nContent-Length: "...)
	s.out = strconv.AppendInt(s.out, int64(len(body)), 10)
	s.out = append(append(s.out, "\r\n\r\n"...), body...)
	began := time.Now()
	if _, s.Err = s.c.Write(s.out); s.Err != nil {
		return s.Err
	}
	if s.Err = s.answer(); s.Err == nil {
		s.Took = append(s.Took, time.Since(began))
	}
	return s.Err
}

// answer reads a response, no further than to know that it is a good one.
func (s *Sender) answer() error {
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
