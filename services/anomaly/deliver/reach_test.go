package deliver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"muster.dev/platform/daemon"
)

func TestAddressesThatAreNotOnTheInternetAreRefused(t *testing.T) {
	none := guard{}
	for _, a := range []string{"127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "169.254.169.254", "172.31.255.255", "192.168.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "2001:db8::1", "100::1"} {
		if err := none.check(netip.MustParseAddr(a)); !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v", a, err)
		}
	}
	for _, a := range []string{"1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"} {
		if err := none.check(netip.MustParseAddr(a)); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	some := Reach{AllowNetworks: []string{"10.20.0.0/16", "169.254.0.0/16", "fd00::/8"}}.dialing(nil).guard
	for a, ok := range map[string]bool{"10.20.3.4": true, "::ffff:10.20.3.4": true, "10.21.0.1": false, "169.254.7.7": true, "169.254.169.254": false, "fd00::7": true, "fd00:ec2::254": false, "127.0.0.1": false} {
		if err := some.check(netip.MustParseAddr(a)); (err == nil) != ok {
			t.Errorf("%s: %v", a, err)
		}
	}
	own := Reach{AllowNetworks: []string{"169.254.169.254/32"}}.dialing(nil).guard
	if err := own.check(netip.MustParseAddr("169.254.169.254")); err != nil {
		t.Error(err)
	}
	am := guard{inside}
	for a, ok := range map[string]bool{"127.0.0.1": true, "10.0.0.1": true, "::1": true, "169.254.1.1": false, "169.254.169.254": false, "100.100.100.200": false, "1.1.1.1": true} {
		if err := am.check(netip.MustParseAddr(a)); (err == nil) != ok {
			t.Errorf("an Alertmanager at %s: %v", a, err)
		}
	}
}

// names answers every question about a name with an address.
type names struct {
	addr  atomic.Value // netip.Addr
	asked atomic.Int32
}

// resolver serves DNS on a pipe for each question.
func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go n.serve(server)
		return client, nil
	}}
}

// serve answers as over TCP, which the resolver speaks on what is no packet connection.
func (n *names) serve(c net.Conn) {
	defer c.Close()
	for {
		head := make([]byte, 2)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		body := make([]byte, int(head[0])<<8|int(head[1]))
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(body); err != nil {
			return
		}
		n.asked.Add(1)
		m.Response, m.Additionals = true, nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 0}, Body: &dnsmessage.AResource{A: n.addr.Load().(netip.Addr).As4()}}}
		}
		out, err := m.Pack()
		if err != nil {
			return
		}
		if _, err := c.Write(append([]byte{byte(len(out) >> 8), byte(len(out))}, out...)); err != nil {
			return
		}
	}
}

// A name that answers with one address when it is looked at and with another when it is dialled gains nothing: what is looked at is what is
// dialled.
func TestANameThatChangesItsAddressGetsNowhere(t *testing.T) {
	p, dns := newPlace(t), &names{}
	_, port, err := net.SplitHostPort(p.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := Webhook{URL: daemon.Secret("https://example.com:" + port), Secret: secret, Reach: Reach{AllowNetworks: []string{"127.0.0.1/32"}, CAFile: p.ca}}
	to, err := w.open("ops", 5*time.Second, dns.resolver())
	if err != nil {
		t.Fatal(err)
	}
	client := to.(*webhook).post.client
	defer client.CloseIdleConnections()
	list := []message{{action: opened, inc: incident(1, "critical")}}
	dns.addr.Store(netip.MustParseAddr("127.0.0.1"))
	if f := to.send(t.Context(), list); f != nil {
		t.Fatal(f)
	}
	for _, a := range []string{"127.0.0.2", "10.0.0.1", "169.254.169.254", "192.168.1.1"} {
		client.CloseIdleConnections()
		dns.addr.Store(netip.MustParseAddr(a))
		f := to.send(t.Context(), list)
		if f == nil || !errors.Is(f, ErrAddress) || f.unknown {
			t.Errorf("%s: %v", a, f)
		}
	}
	if n := p.times(); n != 1 || dns.asked.Load() < 5 {
		t.Errorf("the receiver was asked %d times, the name %d", n, dns.asked.Load())
	}
}

func TestWhatAReceiverMayAnswer(t *testing.T) {
	p := newPlace(t)
	stop := make(chan struct{})
	defer close(stop)
	endless := func(w http.ResponseWriter, status int) {
		w.WriteHeader(status)
		for _, err := w.Write([]byte(strings.Repeat("x", 1<<16))); err == nil; _, err = w.Write([]byte(strings.Repeat("x", 1<<16))) {
		}
	}
	for name, c := range map[string]struct {
		answer  func(w http.ResponseWriter, r *http.Request)
		ok      bool
		refused bool
		unknown bool
		after   time.Duration
		text    string
	}{
		"taken":                   {answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }, ok: true},
		"taken, and endless":      {answer: func(w http.ResponseWriter, _ *http.Request) { endless(w, http.StatusOK) }, ok: true},
		"endless":                 {answer: func(w http.ResponseWriter, _ *http.Request) { endless(w, http.StatusInternalServerError) }, text: "HTTP 500"},
		"a head without an end":   {answer: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, unknown: true, text: "exceeded"},
		"taken, and then nothing": {answer: func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); <-stop }, ok: true},
		"nothing": {answer: func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-stop:
			}
		}, unknown: true, text: "deadline"},
		"too many": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}, after: 7 * time.Second},
		"too many, for ever": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "99999999999")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, after: maxWait},
		"too many, for long": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, after: maxWait},
		"a bad message":  {answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) }, refused: true},
		"not allowed":    {answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, text: "HTTP 403"},
		"behind a proxy": {answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGatewayTimeout) }, unknown: true},
		"another place": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/there", http.StatusPermanentRedirect)
		}, text: "redirects are not followed"},
		"what is not for a log": {answer: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "\x1b[31m\n"+secret, http.StatusInternalServerError)
		}, text: `"\x1b[31m\n[redacted]\n"`},
		"an end in the midst of": {answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			p.set(func(w http.ResponseWriter, r *http.Request, _ []byte) bool { c.answer(w, r); return true })
			w := p.webhook("ops").Webhook
			to, err := w.open("ops", 500*time.Millisecond, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer to.(*webhook).post.client.CloseIdleConnections()
			f := to.send(t.Context(), []message{{action: opened, inc: incident(1, "critical")}})
			if (f == nil) != c.ok {
				t.Fatalf("%v", f)
			}
			if f != nil && (f.refused() != c.refused || f.unknown != c.unknown || f.after != c.after || !strings.Contains(f.Error(), c.text) || strings.Contains(f.Error(), "k3y")) {
				t.Errorf("%+v", f)
			}
		})
	}
}
