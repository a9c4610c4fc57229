package field

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"muster.dev/platform/mqtt/publisher"
)

// teller publishes numbered messages, and remembers which of them it was told are kept.
type teller struct {
	t    *testing.T
	addr string

	mu   sync.Mutex
	told map[string]map[int]bool
}

func newTeller(t *testing.T, addr string) *teller {
	return &teller{t: t, addr: addr, told: map[string]map[int]bool{}}
}

// counted is a message under a device's own key.
func counted(n int) []byte {
	return fmt.Appendf(nil, `{"boot":1,"seq":%d,"readings":[{"ts":%d,"metrics":{"n":%d}}]}`, n, time.Now().UnixMilli(), n)
}

// uncounted is one of a device that does not count. Each is of another time: two values of one time would be one window's end.
func uncounted(n int) []byte {
	return fmt.Appendf(nil, `{"ts":%d,"values":{"n":%d}}`, time.Now().UnixMilli()-60_000+int64(n), n)
}

func (c *teller) note(device string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told[device] == nil {
		c.told[device] = map[int]bool{}
	}
	c.told[device][n] = true
}

func (c *teller) count() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, numbers := range c.told {
		n += len(numbers)
	}
	return n
}

// say publishes numbers from until to of a device over one connection, several on their way at once, and connects again when it
// breaks: what was not answered is then said again.
func (c *teller) say(device string, from, to int, body func(n int) []byte) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var left []int
	for n := from; n < to; n++ {
		left = append(left, n)
	}
	bodies := map[int][]byte{}
	for len(left) > 0 && ctx.Err() == nil {
		left = c.attempt(ctx, device, left, func(n int) []byte {
			if bodies[n] == nil {
				bodies[n] = body(n)
			}
			return bodies[n]
		})
	}
	if len(left) > 0 {
		c.t.Errorf("%s: %d messages are never answered", device, len(left))
	}
}

// attempt says what it can over one connection, and gives what was not answered.
func (c *teller) attempt(ctx context.Context, device string, numbers []int, body func(n int) []byte) (left []int) {
	conn, err := net.Dial("tcp", c.addr)
	if err == nil {
		var p *publisher.Publisher
		if p, err = publisher.Dial(ctx, conn, publisher.Options{ClientID: device}); err == nil {
			defer p.Close()
			return c.through(ctx, p, device, numbers, body)
		}
	}
	<-time.After(20 * time.Millisecond)
	return numbers
}

func (c *teller) through(ctx context.Context, p *publisher.Publisher, device string, numbers []int, body func(n int) []byte) (left []int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	unanswered := map[int]bool{}
	for _, n := range numbers {
		unanswered[n] = true // all of them before the first answer: the answers write here too
	}
	for _, n := range numbers {
		wg.Add(1)
		err := p.Send(ctx, publisher.Message{Topic: "telemetry", Payload: body(n), QoS: 1}, func(err error) {
			defer wg.Done()
			if err != nil {
				return
			}
			c.note(device, n)
			mu.Lock()
			delete(unanswered, n)
			mu.Unlock()
		})
		if err != nil {
			wg.Done()
			break
		}
	}
	wg.Wait()
	for n := range unanswered {
		left = append(left, n)
	}
	return left
}

// tool is the path of a program that the trial needs.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		for _, dir := range []string{"/usr/sbin/", "/usr/local/sbin/"} {
			if _, err := os.Stat(dir + name); err == nil {
				return dir + name
			}
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("CI must have %s", name)
		}
		t.Skipf("SKIPPED: needs %s", name)
	}
	return path
}

// dial connects as a client that waits for each answer.
func dial(t *testing.T, addr, id string) *publisher.Publisher {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p, err := publisher.Dial(t.Context(), conn, publisher.Options{ClientID: id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func publish(t *testing.T, p *publisher.Publisher, topic string, body []byte) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return p.Publish(ctx, publisher.Message{Topic: topic, Payload: body, QoS: 1})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
