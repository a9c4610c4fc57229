package session

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"muster.dev/platform/mqtt/mqtttest"
	"muster.dev/platform/mqtt/packet"
)

// secured is a server behind TLS 1.3, and a client that has shaken hands with it; each side takes most bytes that nobody has read.
func secured(t *testing.T, most int, s *Settings, h Handler) *wire {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now() // the bubble's
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"server"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c)
	near, far := mqtttest.Pair(most)
	w := &wire{t: t, ended: make(chan Ended, 1)}
	w.conn = tls.Client(near, &tls.Config{RootCAs: pool, ServerName: "server"})
	ctx, stop := context.WithCancel(context.Background())
	server := tls.Server(far, &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	go func() {
		w.ended <- Serve(ctx, server, s, h)
		close(w.ended)
	}()
	t.Cleanup(func() {
		stop()
		_ = near.Close()
		for range w.ended {
		}
	})
	return w
}

func TestBehindTLSItIsAsItIsWithout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &held{}
		w := secured(t, 1<<20, settings(), &recorder{publish: h.keep})
		w.in(hello(packet.V5))
		for id := range uint16(20) { // in one write, of several records
			w.write(publication(packet.V5, packet.Publish{QoS: 1, ID: id + 1, Payload: make([]byte, 30_000)})...)
		}
		synctest.Wait()
		for i := range 20 {
			h.answer(i, Answer{})
			w.expect(0x40, 2, 0, byte(i+1))
		}
		began := time.Now()
		if k := w.bye(); k.Reason != packet.KeepAliveTimeout || time.Since(began) < 90*time.Second {
			t.Errorf("told %v after %v", k.Reason, time.Since(began))
		}
	})
}

func TestBehindTLSTheLastWordsAreReadAndNobodyIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *Conn
		r := &recorder{connect: func(conn *Conn, _ *Hello) (Refusal, bool) { c = conn; return Refusal{}, true }}
		w := secured(t, 1<<20, settings(), r)
		w.in(hello(packet.V5))
		began := time.Now()
		c.End(packet.AdministrativeAction, "revoked", "")
		if k := w.bye(); k.Reason != packet.AdministrativeAction || time.Since(began) > 0 {
			t.Errorf("told %v after %v", k.Reason, time.Since(began))
		}
		_ = w.conn.(*tls.Conn).NetConn().Close()
		w.over()

		s := settings()
		for name, deaf := range map[string]func(*wire){
			"with an answer under way": func(w *wire) {
				w.write([]byte(strings.Repeat("\xc0\x00", 300))...)
				w.write([]byte(strings.Repeat("\xc0\x00", 200))...)
			},
			"with nothing on the way": func(*wire) {},
		} {
			d := secured(t, 1000, s, r)
			d.in(hello(packet.V5))
			deaf(d)
			synctest.Wait()
			began := time.Now()
			c.End(packet.AdministrativeAction, strings.Repeat("revoked", 30), "")
			d.over()
			if took := time.Since(began); took > s.Limits.Farewell+linger {
				t.Errorf("%s: it took %v", name, took)
			}
		}
	})
}
