package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster.dev/platform/daemon"
	"muster.dev/platform/mqtt/publisher"
	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/gateway"
	"muster.dev/services/ingest/gateway/door"
)

// gatewayOrder is what a gateway in a process of its own is told.
type gatewayOrder struct {
	Broker, TrustDomain string
	TLS                 door.Files
}

// playGateway is a gateway that says where it listens once it is ready, for HTTPS and for MQTT.
func playGateway() error {
	var o gatewayOrder
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return err
	}
	cfg := gateway.DefaultConfig()
	cfg.Ops.Listen, cfg.Listen, cfg.MQTT.Listen, cfg.Log.Brokers, cfg.TrustDomain, cfg.TLS = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", []string{o.Broker}, o.TrustDomain, o.TLS
	cfg.Limits.DeviceMessages, cfg.Limits.DeviceMessagesBurst = 1e6, 1e6
	p, err := daemon.New(context.Background(), daemon.Settings{Name: "gateway", Config: cfg.Ops, Output: io.Discard})
	if err != nil {
		return err
	}
	g, err := gateway.Start(p.Context(), p, cfg)
	if err != nil {
		return err
	}
	p.Ready()
	fmt.Println(g.Addr(), g.MQTTAddr())
	return p.Wait() // until it is killed
}

// Row 24 of the fault matrix: a short form always, 200 kills with MUSTER_TORTURE=full; MUSTER_SEED replays a run.
func TestTortureAGatewayThatIsKilledLosesNothingThatItAccepted(t *testing.T) {
	kills := 10
	if os.Getenv("MUSTER_TORTURE") == "full" {
		kills = 200
	}
	seed := uint64(setting("MUSTER_SEED", int(time.Now().UnixNano())))
	t.Logf("seed %d, %d kills", seed, kills)
	random := rand.New(rand.NewPCG(seed, 0))
	const devices = 8
	s := open(t, nil)
	for i := range devices {
		s.enroll(event.DeviceEnrolled{Device: fmt.Sprintf("boiler-%d", i)})
	}
	if err := s.stop(); err != nil { // it only made the site; those that die are processes
		t.Fatal(err)
	}
	server := s.ca.Server("mortal")
	order := gatewayOrder{Broker: s.addr, TLS: door.Files{Certificate: server.Cert, Key: server.Key, ClientCA: s.ca.CA()}, TrustDomain: s.config().TrustDomain}
	var at atomic.Pointer[address]
	at.Store(&address{})

	type accepted struct {
		device string
		seq    uint64
	}
	var mu sync.Mutex
	told := map[accepted]bool{}
	var count [2]int // of told, by HTTPS and by MQTT
	ctx, cancel := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	for i := range devices {
		id := fmt.Sprintf("boiler-%d", i)
		c := s.device(id)
		c.Timeout = 2 * time.Second
		accepts := func(a address, body []byte) bool { return stored(c, a.https, body) }
		if i%2 == 1 {
			accepts = s.acceptsByMQTT(ctx, id)
		}
		senders.Go(func() {
			for seq := uint64(0); ctx.Err() == nil; seq++ {
				body := message(1, int(seq), "")
				for ctx.Err() == nil { // as a device: the same message until it is stored
					if accepts(*at.Load(), body) {
						mu.Lock()
						told[accepted{id, seq}] = true
						count[i%2]++
						mu.Unlock()
						break
					}
					<-time.After(5 * time.Millisecond)
				}
			}
		})
	}
	for range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), benchPart+"=gateway")
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := json.NewEncoder(in).Encode(order); err != nil {
			t.Error(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Errorf("no address: %v", err)
		}
		var where address
		if _, err := fmt.Sscan(line, &where.https, &where.mqtt); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		at.Store(&where)
		mu.Lock()
		before := count
		mu.Unlock()
		s.eventually("the new gateway accepts, by HTTPS and by MQTT", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return count[0] > before[0] && count[1] > before[1]
		})
		<-time.After(time.Duration(random.IntN(200)) * time.Millisecond) // when it dies is the test
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // killed
	}
	cancel()
	senders.Wait()

	values := map[accepted][]byte{}
	again := 0
	for _, r := range s.records(record.TopicTelemetry) {
		if record.IsControl(string(header(r, record.HeaderType))) {
			continue // a gateway that lived for long enough has written a watermark
		}
		var b batch.Batch
		if err := b.Decode(r.Value); err != nil {
			t.Fatal(err)
		}
		k := accepted{string(r.Key), b.Seq}
		if v, ok := values[k]; ok {
			again++
			if !bytes.Equal(v, r.Value) {
				t.Errorf("%v stands there with two payloads", k)
			}
		}
		values[k] = r.Value
	}
	for k := range told {
		if values[k] == nil {
			t.Errorf("%v was accepted and is not in the log", k)
		}
	}
	t.Logf("%d accepted, %d retries stand in the log for the sink to tell", len(told), again)
}

// address is where a gateway listens.
type address struct{ https, mqtt string }

// acceptsByMQTT is a device with a connection, or with a new one where that has ended: of either version.
func (s *site) acceptsByMQTT(ctx context.Context, id string) func(address, []byte) bool {
	identity := s.ca.Device(id)
	var p *publisher.Publisher
	var to string
	o := publisher.Options{ClientID: id, Version: versions[id[len(id)-1]/2%2], Patience: 2 * time.Second}
	s.t.Cleanup(func() {
		if p != nil {
			_ = p.Close()
		}
	})
	return func(a address, body []byte) bool {
		if a.mqtt == "" {
			return false
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if p == nil || p.Err() != nil || to != a.mqtt {
			if p != nil {
				_ = p.Close()
				p = nil
			}
			d := tls.Dialer{Config: s.ca.Client(identity)}
			c, err := d.DialContext(ctx, "tcp", a.mqtt)
			if err != nil {
				return false
			}
			if p, err = publisher.Dial(ctx, c, o); err != nil {
				p = nil
				return false
			}
			to = a.mqtt
		}
		return p.Publish(ctx, publisher.Message{Topic: "telemetry", Payload: body, QoS: 1}) == nil
	}
}

func stored(c *http.Client, addr string, body []byte) bool {
	if addr == "" {
		return false
	}
	r, err := c.Post("https://"+addr+"/v1/telemetry", typeJSON, bytes.NewReader(body))
	if err != nil {
		return false
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil && r.StatusCode == http.StatusOK
}
