package est

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"muster.dev/services/registry/decide"
)

// EnvLoad is how many devices enrol in the full form: MUSTER_EST_LOAD=5000. The quick form, without it, says nothing of
// speed.
const EnvLoad = "MUSTER_EST_LOAD"

// Each device has a key of its own, opens a connection of its own, and enrols by password, as at the end of a factory's
// line. Clients and registry share the machine.
func TestLoadManyDevicesEnrolAtOnce(t *testing.T) {
	devices, full := 100, false
	if text := os.Getenv(EnvLoad); text != "" {
		var err error
		if devices, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
		full = true
	}
	s := open(t, func(c *Settings) { c.Rate, c.Burst = 1e6, 1e6 })
	secret := "a-secret-for-many"
	s.do(decide.MakePassword{ID: "many", Hash: sha256.Sum256([]byte(secret)), Label: "pumps", Prefix: "load-", NotAfter: time.Now().Add(time.Hour), Uses: uint32(devices)})
	bodies := make([][]byte, devices)
	for i := range bodies {
		bodies[i] = csr(t, newKey(t), fmt.Sprintf("load-%06d", i))
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.ca.CA())
	took := make([]time.Duration, devices)
	var next atomic.Int64
	var wg sync.WaitGroup
	began, cpu := time.Now(), used(t)
	for range 8 { // more in flight wait for the CPU, and say nothing of the registry
		wg.Go(func() {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: patience}
			for i := next.Add(1) - 1; int(i) < devices; i = next.Add(1) - 1 {
				start := time.Now()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/simpleenroll", bytes.NewReader(bodies[i]))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Content-Type", "application/pkcs10")
				req.SetBasicAuth(fmt.Sprintf("load-%06d", i), secret)
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if took[i] = time.Since(start); resp.StatusCode != http.StatusOK {
					t.Errorf("%d: %s", resp.StatusCode, body)
					return
				}
			}
		})
	}
	wg.Wait()
	all := time.Since(began)
	slices.Sort(took)
	rate, p50, p99 := float64(devices)/all.Seconds(), took[devices/2], took[devices*99/100]
	t.Logf("%d enrolments in %v on %d CPUs: %.0f/s, p50 %v, p99 %v, CPU %v each, clients included",
		devices, all.Round(time.Millisecond), runtime.GOMAXPROCS(0), rate, p50.Round(10*time.Microsecond), p99.Round(10*time.Microsecond), ((used(t) - cpu) / time.Duration(devices)).Round(time.Microsecond))
	if full && (rate < 200 || p99 > 100*time.Millisecond) {
		t.Errorf("want 200/s and a p99 of 100 ms")
	}
}

func used(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
