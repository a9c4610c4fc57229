package device

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// guarded is a door that can refuse certificates at the handshake.
func guarded(t *testing.T) (refuses *atomic.Bool, d *door, c *Client) {
	t.Helper()
	d, c = open(t, stored)
	refuses = &atomic.Bool{}
	d.TLS.VerifyConnection = func(tls.ConnectionState) error {
		if refuses.Load() {
			return errors.New("revoked")
		}
		return nil
	}
	return refuses, d, c
}

func TestARefusedCertificateIsSaidAndNotTriedAgain(t *testing.T) {
	refuses, d, c := guarded(t)
	refuses.Store(true)
	// An alert can be overtaken by the connection's end, which is tried again like any other.
	_, err := c.Deliver(t.Context(), []byte("m"), nil)
	var barred *Barred
	if !errors.As(err, &barred) || !strings.Contains(err.Error(), "revoked, replaced or has ended") || !strings.Contains(err.Error(), "tls: bad certificate") {
		t.Errorf("%v", err)
	}
	if len(d.saw()) != 0 {
		t.Errorf("a message came through: %q", d.saw())
	}
}

func TestAnOutboxKeepsItsMessagesWhileItsCertificateIsRefused(t *testing.T) {
	refuses, d, c := guarded(t)
	refuses.Store(true)
	done := make(chan Outcome, 1)
	o := NewOutbox(c, 4, func(_ Message, out Outcome) { done <- out })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { o.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	o.Put(Message{Boot: 1, Seq: 1, Body: []byte("kept")})
	for end := time.Now().Add(patience); o.Counts().Retries < 3; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", o.Counts())
		}
	}
	if n := o.Counts(); n.Waiting != 1 || n.Refused != 0 || len(d.saw()) != 0 {
		t.Errorf("%+v, %q", n, d.saw())
	}
	refuses.Store(false)
	select {
	case out := <-done:
		if out.Refusal != nil || len(d.saw()) != 1 || o.Counts().Stored != 1 {
			t.Errorf("%+v, %q", out, d.saw())
		}
	case <-time.After(patience):
		t.Fatal("the message was not sent when the certificate was taken again")
	}
}
