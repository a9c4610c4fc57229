package est

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var loopback = []net.IP{net.IPv4(127, 0, 0, 1)}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func TestADeviceEnrolsByPasswordAndRenewsByItsCertificate(t *testing.T) {
	for _, by := range []string{"pin", "file"} {
		r := newRegistry(t)
		c, p := r.config(t), r.proof()
		if by == "file" {
			p.Pin, p.CAFile = "", r.caFile(t)
		}
		first, err := Enrol(t.Context(), c, p)
		if err != nil {
			t.Fatal(err)
		}
		if first.Device != "pi-1" {
			t.Errorf("%q", first.Device)
		}
		if info, err := os.Stat(filepath.Join(c.Dir, KeyFile)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		second, err := Renew(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if second.Device != "pi-1" || bytes.Equal(second.Leaf().RawSubjectPublicKeyInfo, first.Leaf().RawSubjectPublicKeyInfo) {
			t.Error("the new certificate is for the old key")
		}
		if len(second.Certificate.Certificate) != 2 {
			t.Errorf("%d certificates are shown, want the device's and the issuing one", len(second.Certificate.Certificate))
		}
		left, _ := filepath.Glob(filepath.Join(c.Dir, "*"))
		if len(left) != 3 {
			t.Errorf("files %v", left)
		}
		for _, line := range r.saw() {
			if strings.Contains(line, "cacerts") && strings.HasSuffix(line, "pi-1") {
				t.Errorf("the name went with %s", line)
			}
			if !strings.Contains(line, "/.well-known/est/pis/") {
				t.Error(line)
			}
		}
	}
}

func TestADeviceEnrolsByItsManufacturersCertificate(t *testing.T) {
	r := newRegistry(t)
	c := r.config(t)
	own := key(t)
	birth := r.sign(&x509.Certificate{Subject: pkix.Name{SerialNumber: "SN-1"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, r.root, own.Public(), r.rootKey)
	id, err := Enrol(t.Context(), c, Proof{CAFile: r.caFile(t), IDevID: &tls.Certificate{Certificate: [][]byte{birth.Raw}, PrivateKey: own}})
	if err != nil || id.Device != "claimed-1" {
		t.Fatalf("%q, %v", id.Device, err)
	}
	if bytes.Equal(id.Leaf().RawSubjectPublicKeyInfo, birth.RawSubjectPublicKeyInfo) {
		t.Error("the identity is for the manufacturer's key")
	}
}

func TestAnotherFleetsRegistryIsToldNothing(t *testing.T) {
	r, other := newRegistry(t), newAuthority(t)
	c, p := r.config(t), r.proof()
	p.Pin = other.pin()
	if _, err := Enrol(t.Context(), c, p); err == nil || !strings.Contains(err.Error(), "another fleet") {
		t.Error(err)
	}
	// A server that only repeats the root whose fingerprint is known cannot prove to be under it.
	r.oddly(func(w http.ResponseWriter, q *http.Request) bool {
		r.answer(w, other.root.Raw)
		return true
	})
	var unknown x509.UnknownAuthorityError
	if _, err := Enrol(t.Context(), c, p); !errors.As(err, &unknown) {
		t.Error(err)
	}
	for _, line := range r.saw() {
		if strings.Contains(line, "pi-1") {
			t.Errorf("was told: %s", line)
		}
	}
	if _, err := os.Stat(c.Dir); err == nil {
		t.Error("something was made of it")
	}
}

func TestALostAnswerIsAskedForAgainWithTheSameBytes(t *testing.T) {
	r := newRegistry(t)
	c, p := r.config(t), r.proof()
	lose := true
	r.oddly(func(w http.ResponseWriter, q *http.Request) bool {
		if q.Method == http.MethodPost && lose {
			lose = false
			body, _ := io.ReadAll(q.Body)
			q.Body = io.NopCloser(bytes.NewReader(body))
			r.odd = nil
			rec := &dropped{header: http.Header{}}
			r.mu.Unlock()
			r.ServeHTTP(rec, q)
			r.mu.Lock()
			panic(http.ErrAbortHandler)
		}
		return false
	})
	_, err := Enrol(t.Context(), c, p)
	if err == nil {
		t.Fatal("the answer was to be lost")
	}
	if _, err := Enrol(t.Context(), c, p); err != nil {
		t.Error(err)
	}
	if len(r.issued) != 1 {
		t.Errorf("%d certificates", len(r.issued))
	}
}

type dropped struct{ header http.Header }

func (d *dropped) Header() http.Header         { return d.header }
func (d *dropped) Write(p []byte) (int, error) { return len(p), nil }
func (d *dropped) WriteHeader(int)             {}

// TestWhereverThePowerGoesThereIsAnIdentity ends an enrolment and a renewal before each change of the directory.
func TestWhereverThePowerGoesThereIsAnIdentity(t *testing.T) {
	gone := errors.New("the power went")
	for stop := 1; ; stop++ {
		r := newRegistry(t)
		c := r.config(t)
		first, err := Enrol(t.Context(), c, r.proof())
		if err != nil {
			t.Fatal(err)
		}
		n, where := 0, ""
		s := store{dir: c.Dir, step: func(change string) error {
			if n++; n == stop {
				where = change
				return gone
			}
			return nil
		}}
		_, err = renew(t.Context(), c, s)
		if err == nil {
			if n != 4 {
				t.Errorf("%d changes", n)
			}
			return
		}
		if !errors.Is(err, gone) {
			t.Fatal(err)
		}
		found, err := Load(c.Dir)
		if err != nil || found.Device != first.Device {
			t.Errorf("before %q: %v", where, err)
		}
		after, err := Renew(t.Context(), c)
		if err != nil {
			t.Errorf("before %q: %v", where, err)
		} else if bytes.Equal(after.Leaf().Raw, first.Leaf().Raw) {
			t.Errorf("before %q: not renewed", where)
		}
	}
}

func TestWhatWouldNotWorkIsNotInstalled(t *testing.T) {
	r, other := newRegistry(t), newAuthority(t)
	c := r.config(t)
	first, err := Enrol(t.Context(), c, r.proof())
	if err != nil {
		t.Fatal(err)
	}
	for name, odd := range map[string]func(http.ResponseWriter){
		"another's key":       func(w http.ResponseWriter) { r.answer(w, r.device("pi-1", key(t).Public()).Raw) },
		"another's authority": func(w http.ResponseWriter) { r.answer(w, other.device("pi-1", key(t).Public()).Raw) },
		"nothing":             func(w http.ResponseWriter) { r.answer(w) },
		"an authority":        func(w http.ResponseWriter) { r.answer(w, r.root.Raw) },
		"not base64":          func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>") },
		"too long":            func(w http.ResponseWriter) { _, _ = io.WriteString(w, strings.Repeat("A", maxAnswer+4)) },
		"a redirection": func(w http.ResponseWriter) {
			w.Header().Set("Location", r.URL+"/elsewhere")
			w.WriteHeader(http.StatusFound)
		},
	} {
		r.oddly(func(w http.ResponseWriter, q *http.Request) bool {
			if q.Method == http.MethodPost {
				odd(w)
				return true
			}
			return false
		})
		if _, err := Renew(t.Context(), c); err == nil {
			t.Errorf("%s was installed", name)
		}
		if found, err := Load(c.Dir); err != nil || !bytes.Equal(found.Leaf().Raw, first.Leaf().Raw) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, line := range r.saw() {
		if strings.Contains(line, "elsewhere") {
			t.Error("a redirection was followed")
		}
	}
}

func TestTheServersWordsAreBoundedAndItsWaitIsKept(t *testing.T) {
	r := newRegistry(t)
	c := r.config(t)
	for header, want := range map[string]time.Duration{"7": 7 * time.Second, "": unsaid, "99999999999": longest, "-1": unsaid, "soon": unsaid} {
		for _, status := range []int{202, 429, 503} {
			r.oddly(func(w http.ResponseWriter, q *http.Request) bool {
				if q.Method != http.MethodPost {
					return false
				}
				w.Header().Set("Retry-After", header)
				w.WriteHeader(status)
				_, _ = io.WriteString(w, strings.Repeat("wait\x1b[2J\n", 1000))
				return true
			})
			_, err := Enrol(t.Context(), c, r.proof())
			var later *Later
			if !errors.As(err, &later) || later.After != want || later.Status != status {
				t.Errorf("%q: %v", header, err)
			} else if strings.ContainsAny(later.Says, "\x1b\n") || len(later.Says) > maxSaid {
				t.Errorf("%q", later.Says)
			}
		}
	}
	at := http.Header{"Retry-After": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}
	if d := retryAfter(at); d < 50*time.Minute || d > time.Hour {
		t.Error(d)
	}
}

func TestItIsPatientButNotWithARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		said := func(_ error, d time.Duration) { waits = append(waits, d) }
		n := 0
		began := time.Now()
		err := Patiently(t.Context(), func(context.Context) error {
			if n++; n < 4 {
				return &Later{After: time.Hour}
			}
			return &Refused{Status: 401}
		}, said)
		var refused *Refused
		if !errors.As(err, &refused) || n != 4 || len(waits) != 3 || time.Since(began) < 3*time.Hour {
			t.Errorf("%v after %d attempts and %v", err, n, waits)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := Patiently(ctx, func(context.Context) error { return errors.New("no route") }, said); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestRenewalIsDueInTheLastThirdAtAnotherTimeForEachKey(t *testing.T) {
	a := newAuthority(t)
	seen := map[time.Time]bool{}
	for range 20 {
		leaf := a.device("pi-1", key(t).Public())
		due := Identity{Certificate: tls.Certificate{Leaf: leaf}}.Due()
		life := leaf.NotAfter.Sub(leaf.NotBefore)
		if due.Before(leaf.NotBefore.Add(life/3*2)) || due.After(leaf.NotAfter.Add(-life/6)) {
			t.Errorf("due %v of %v to %v", due, leaf.NotBefore, leaf.NotAfter)
		}
		seen[due] = true
	}
	if len(seen) != 20 {
		t.Errorf("%d times for 20 keys", len(seen))
	}
}

func TestKeepRenewsWhatIsDueAndGoesOnWhenItFails(t *testing.T) {
	r := newRegistry(t)
	c := r.config(t)
	if _, err := Enrol(t.Context(), c, r.proof()); err != nil {
		t.Fatal(err)
	}
	current, err := Load(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	// The one that runs is old; what comes is good for long.
	current.Certificate.Leaf.NotBefore, current.Certificate.Leaf.NotAfter = time.Now().Add(-80*24*time.Hour), time.Now().Add(24*time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []Identity
	Keep(ctx, c, current, func(i Identity) { got = append(got, i); cancel() }, func(err error, _ time.Duration) { t.Error(err) })
	if len(got) != 1 || got[0].Due().Before(time.Now()) {
		t.Errorf("%d renewals", len(got))
	}
}

func TestAConfigurationThatCannotWorkIsNamed(t *testing.T) {
	good := Config{URL: "https://h:1", Dir: "d", Timeout: 1}
	for want, change := range map[string]func(*Config){
		"est": func(c *Config) { c.URL = "http://h" }, "line": func(c *Config) { c.Line = "a/b" },
		"identity": func(c *Config) { c.Dir = "" }, "timeout": func(c *Config) { c.Timeout = 0 },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, p := range []Proof{{}, {Password: "x", Pin: "y"}, {Device: "d", Password: "x"}, {Device: "d", Password: "x", Pin: "p", CAFile: "c"}} {
		if _, err := Enrol(t.Context(), good, p); err == nil {
			t.Errorf("%+v", p)
		}
	}
	for _, pin := range []string{"", "sha256:", "zz", strings.Repeat("ab", 31)} {
		if _, err := parsePin(pin); err == nil {
			t.Errorf("pin %q", pin)
		}
	}
}
