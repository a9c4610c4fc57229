package est

import (
	"context"
	"crypto/x509/pkix"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/platform/eventlog/logtest"
	"muster.dev/services/registry/decide"
)

// behind holds up whoever reads the log on, until release: who writes it does not read.
func behind(t *testing.T, cluster *kfake.Cluster) (release func()) {
	t.Helper()
	var held atomic.Int32
	wait, open := context.WithCancel(context.Background())
	t.Cleanup(open)
	cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		if wait.Err() != nil {
			return nil, nil, false
		}
		cluster.KeepControl()
		held.Add(1)
		cluster.SleepControl(func() { <-wait.Done() })
		return nil, nil, false
	})
	for deadline := time.Now().Add(patience); held.Load() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nobody reads the log on")
		}
		<-time.After(time.Millisecond)
	}
	return open
}

func TestAStandbyThatIsBehindRefusesNobody(t *testing.T) {
	cluster, brokers := logtest.Fake(t, []logtest.Topic{registryTopic})
	first := openOn(t, brokers, nil)
	second := &site{t: t, dir: first.dir, log: first.log, ca: first.ca}
	cfg := DefaultConfig()
	cfg.Listen, cfg.CertFile, cfg.KeyFile = "127.0.0.1:0", filepath.Join(first.dir, "server.pem"), filepath.Join(first.dir, "server.key")
	second.serve("second", cfg, nil)
	if err := second.writer.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}

	release := behind(t, cluster)
	acme := newFactory(t)
	idevid := acme.idevid(t, pkix.Name{SerialNumber: "SN-1"}, nil)
	first.do(decide.TrustManufacturer{Name: "acme", Certificates: [][]byte{acme.cert.Raw}})
	renews, _ := enrolledPump(t, first, "pump-1")
	renews.s = second
	answers := make(chan reply, 2)
	for d, path := range map[device]string{renews: "/simplereenroll", {s: second, cert: idevid}: "/simpleenroll"} {
		go func() { answers <- d.post(path, csr(t, newKey(t), "pump-1")) }()
	}
	select {
	case r := <-answers:
		t.Errorf("answered %d from what it knew: %s", r.code, r.body)
		answers <- r
	case <-time.After(200 * time.Millisecond): // they wait for what the log says
	}
	release()
	for range 2 {
		(<-answers).want(t, http.StatusServiceUnavailable, "stands by")
	}
}
