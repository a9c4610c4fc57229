package session

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"muster.dev/platform/mqtt/packet"
)

// mostPerConnection is two GiB, shared by 50,000.
const mostPerConnection = (2 << 30) / 50_000

// usage is what a server says of its memory.
type usage struct {
	Open                              int
	RSS, RSSAfter                     int // as it stands, and after the collector was asked to give back what it can
	Heap, Objects, Stacks, Goroutines int
}

// TestAnIdleConnectionIsSmall opens TLS connections, each with a certificate of its own, to a server that is a process of its own, and asks
// it what it takes. With MUSTER_TORTURE=full they are 17,000: many systems let a process open twenty thousand files.
func TestAnIdleConnectionIsSmall(t *testing.T) {
	n := 300
	if os.Getenv("MUSTER_TORTURE") == "full" {
		n = 17_000
	}
	s := startIdle(t)
	empty := s.ask(t)
	s.fill(t, n)
	full := s.ask(t)
	for end := time.Now().Add(time.Minute); full.Goroutines-empty.Goroutines > n && time.Now().Before(end); {
		full = s.ask(t) // who wrote the last answers is on its way out
	}
	if full.Open != n {
		t.Fatalf("%d connections are open, of %d", full.Open, n)
	}
	each := func(full, empty int) int { return (full - empty) / n }
	t.Logf("%d idle TLS connections: %d KiB resident (%d with none), %d bytes each; after a collection %d KiB, %d bytes each", n,
		full.RSS>>10, empty.RSS>>10, each(full.RSS, empty.RSS), full.RSSAfter>>10, each(full.RSSAfter, empty.RSSAfter))
	t.Logf("in use, each: heap %d bytes in %d objects, stacks %d bytes", each(full.Heap, empty.Heap), each(full.Objects, empty.Objects),
		each(full.Stacks, empty.Stacks))
	if got := each(full.Heap+full.Stacks, empty.Heap+empty.Stacks); got > mostPerConnection*5/8 && !raceEnabled { // a collector lets the heap grow beyond what is in use
		t.Errorf("a connection takes %d bytes, and may %d", got, mostPerConnection*5/8)
	}
	if got := full.Goroutines - empty.Goroutines; got > n {
		t.Errorf("%d connections take %d goroutines", n, got)
	}
	if at := empty.RSS + 50_000*each(full.RSS, empty.RSS); n >= 10_000 && at > 2<<30 {
		t.Errorf("50,000 connections would take %d MiB", at>>20)
	}
}

// idleServer is a process of its own.
type idleServer struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	addr  string
	ca    *x509.Certificate
	key   *ecdsa.PrivateKey
	conns []net.Conn
}

func startIdle(t *testing.T) *idleServer {
	t.Helper()
	s := &idleServer{cmd: exec.Command(os.Args[0])}
	var err error
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der := s.certify(t, 1, "", &s.key.PublicKey)
	if s.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Env = append(os.Environ(), fmt.Sprintf(idleServes+"=%x %x", der, raw))
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range s.conns {
			_ = c.(*tls.Conn).NetConn().Close()
		}
		_ = s.in.Close()
		_, _ = io.Copy(io.Discard, s.out)
		if err := s.cmd.Wait(); err != nil {
			t.Error("the server:", err)
		}
	})
	s.out = bufio.NewReader(out)
	line, err := s.out.ReadString('\n')
	if err != nil {
		t.Fatal("the server did not start:", err)
	}
	s.addr = strings.TrimSpace(line)
	return s
}

// certify signs a device's certificate, or with no name the authority's.
func (s *idleServer) certify(t *testing.T, serial int64, name string, key *ecdsa.PublicKey) []byte {
	now := time.Now()
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "idle"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	parent := s.ca
	if name == "" {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.DNSNames = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature, []string{"localhost"}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		parent = c
	} else {
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "fleet.example", Path: "/device/" + name}}
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key, s.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// fill opens n connections that have said hello and one message, and are silent then.
func (s *idleServer) fill(t *testing.T, n int) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(s.ca)
	var opening sync.WaitGroup
	var mu sync.Mutex
	numbers := make(chan int)
	for range 8 {
		opening.Go(func() {
			for i := range numbers {
				cert := tls.Certificate{Certificate: [][]byte{s.certify(t, int64(i+2), fmt.Sprintf("device-%05d", i), &key.PublicKey)}, PrivateKey: key}
				conn, err := s.open(&tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{cert}}, i)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					continue
				}
				mu.Lock()
				s.conns = append(s.conns, conn)
				mu.Unlock()
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	opening.Wait()
}

func (s *idleServer) open(config *tls.Config, i int) (net.Conn, error) {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%8))} // several addresses, for their ports
	raw, err := (&net.Dialer{LocalAddr: from}).Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	k := packet.Connect{Version: packet.V5, CleanStart: true, KeepAlive: 300, ClientID: fmt.Appendf(nil, "device-%05d", i)}
	m := packet.Publish{QoS: 1, ID: 1, Topic: []byte("telemetry"), Payload: make([]byte, 600)}
	if _, err := conn.Write(m.Append(k.Append(nil), packet.V5)); err != nil {
		return nil, err
	}
	answers := make([]byte, 256)
	for n := 0; ; { // CONNACK, and the PUBACK of four bytes
		got, err := conn.Read(answers[n:])
		if err != nil {
			return nil, err
		}
		if n += got; n >= 4 && string(answers[n-4:n]) == "\x40\x02\x00\x01" {
			return conn, nil
		}
	}
}

func (s *idleServer) ask(t *testing.T) (u usage) {
	t.Helper()
	if _, err := io.WriteString(s.in, "?\n"); err != nil {
		t.Fatal(err)
	}
	line, err := s.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(line), &u); err != nil {
		t.Fatal(err)
	}
	return u
}

// storing is a server that lets everybody in and stores all.
type storing struct{ open sync.Map }

func (s *storing) Connect(c *Conn, _ *Hello) (Refusal, bool) {
	s.open.Store(c, nil)
	return Refusal{}, true
}
func (*storing) Publish(_ *Conn, m *Message) { go m.Done(Answer{}) }
func (s *storing) Closed(c *Conn, _ Ended)   { s.open.Delete(c) }

// idleServes is set for the process that is the server: the certificate and the key.
const idleServes = "MUSTER_IDLE_SERVER"

// serveIdle is the server's process.
func serveIdle() error {
	ca, key, _ := strings.Cut(os.Getenv(idleServes), " ")
	var der, raw []byte
	if _, err := fmt.Sscanf(ca+" "+key, "%x %x", &der, &raw); err != nil {
		return err
	}
	private, err := x509.ParseECPrivateKey(raw)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	config := &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, SessionTicketsDisabled: true,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := settings()
	s.Limits.Connect = time.Minute // the machine is busy
	h := &storing{}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { Serve(ctx, tls.Server(conn, config), s, h) })
		}
	})
	fmt.Println(ln.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		u := usage{RSS: resident()}
		h.open.Range(func(any, any) bool { u.Open++; return true })
		for range 4 { // each halves a stack that a handshake let grow
			debug.FreeOSMemory()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		u.RSSAfter, u.Heap, u.Objects, u.Stacks, u.Goroutines = resident(), int(m.HeapAlloc), int(m.HeapObjects), int(m.StackInuse), runtime.NumGoroutine()
		line, _ := json.Marshal(u)
		fmt.Println(string(line))
	}
	_ = ln.Close()
	stop()
	serving.Wait()
	return nil
}

// resident is VmRSS of this process.
func resident() int {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if rest, is := strings.CutPrefix(line, "VmRSS:"); is {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kib << 10
		}
	}
	return 0
}
