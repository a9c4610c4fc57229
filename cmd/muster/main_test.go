package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/cmd/muster/series"
	"muster.dev/cmd/muster/stack"
	"muster.dev/cmd/muster/stack/stacktest"
	"muster.dev/fleet/simulator"
	"muster.dev/platform/daemon"
	"muster.dev/platform/eventlog"
	"muster.dev/platform/principals"
	"muster.dev/proto/record"
)

// recorded are three series that say most: times that occur twice, values that are no decimals, and few large ones.
var recorded = []string{"ec2_disk_write_bytes_1ef3de", "ec2_cpu_utilization_5f5533", "iio_us-east-1_i-a2eb1cd9_NetworkIn"}

// TestStack walks the whole stack through its public surface, as one user's afternoon.
func TestStack(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short")
	}
	l := build(t)
	whole := t // what a subtest starts lives on
	l.start(t, "--devices", "5")
	ports, err := stack.PortsAt(l.offset)
	if err != nil {
		t.Fatal(err)
	}
	l.ready(t)

	t.Run("what up prints works as it stands", func(t *testing.T) { l.followWelcome(t) })
	t.Run("a second stack on the same directory or ports says what to do", func(t *testing.T) {
		_, complaint, code := l.muster(t.Context(), "up", "--listen-offset", fmt.Sprint(l.offset+500))
		if code != 1 || !strings.Contains(complaint, "another `muster up` runs on .muster (process "+fmt.Sprint(l.up.Process.Pid)) {
			t.Errorf("exit %d: %s", code, complaint)
		}
		_, complaint, code = l.muster(t.Context(), "up", "--data", "other", "--listen-offset", fmt.Sprint(l.offset))
		if code != 1 || !strings.Contains(complaint, fmt.Sprintf("port %d, which kafka needs, is taken by muster (process ", ports.Kafka)) || !strings.Contains(complaint, ", of the stack in .muster); ") ||
			!strings.Contains(complaint, "--listen-offset") {
			t.Errorf("exit %d: %s", code, complaint)
		}
	})
	db := open(t, ports)
	t.Run("recorded series come back time for time and value for value", func(t *testing.T) { l.sendRecorded(t, db) })
	t.Run("kcat reads the log as a reader", func(t *testing.T) { l.kcat(t, ports) })
	t.Run("promtool finds nothing to say of any process's metrics", func(t *testing.T) { l.promtool(t, ports) })
	t.Run("events tail shows what devices and the registry said", func(t *testing.T) {
		out := l.must(t, "events", "tail", "--from-start", "--no-follow", "--json")
		kinds := map[string]int{}
		for line := range strings.Lines(out) {
			var e struct{ Topic, Type, Device, Error string }
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Error != "" {
				t.Fatalf("%v: %s", err, line)
			}
			kinds[e.Topic+" "+e.Type]++
		}
		if kinds["muster.telemetry.v1 telemetry"] == 0 || len(kinds) < 3 {
			t.Errorf("%v", kinds)
		}
	})
	t.Run("each process may be killed while devices send", func(t *testing.T) { l.killEach(t, db) })
	t.Run("the README's commands work", func(t *testing.T) { l.readme(t) })
	t.Run("a rebuild brings the same rows back", func(t *testing.T) { l.rebuild(t, db, ports) })
	t.Run("the ledger is in order", func(t *testing.T) { l.audit(t) })
	t.Run("when up is killed its processes end, and the next up finds everything", func(t *testing.T) {
		before := l.stored(t, db, ports)
		parts := l.status(t).Parts
		if err := l.up.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-l.ended
		l.eventually(t, "they have ended by themselves", func() error {
			for _, p := range parts {
				if alive(p.PID) {
					return fmt.Errorf("%s lives on as process %d", p.Name, p.PID)
				}
			}
			return nil
		})
		l.start(whole, "--devices", "5")
		l.ready(t)
		parts = l.status(t).Parts
		if err := l.up.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-l.ended
		l.start(whole, "--devices", "5") // at once: it waits for them
		for _, p := range parts {
			if alive(p.PID) {
				t.Errorf("%s lives on as process %d", p.Name, p.PID)
			}
		}
		l.ready(t)
		if after := fingerprint(t, db); after != before {
			t.Errorf("rows before %s, after %s", before, after)
		}
		l.audit(t)
	})
	t.Run("Ctrl-C stops everything in the order of the flow", func(t *testing.T) {
		parts := l.status(t).Parts
		if err := l.interrupt(t); err != nil {
			t.Errorf("muster up: %v", err)
		}
		var order []string
		for _, m := range regexp.MustCompile(`(?m)^(\w+) +stopped in`).FindAllStringSubmatch(l.out.String(), -1) {
			order = append(order, m[1])
		}
		var want []string
		for _, p := range slices.Backward(parts) {
			want = append(want, p.Name)
			if alive(p.PID) {
				t.Errorf("%s is left running", p.Name)
			}
		}
		if !slices.Equal(order, want) || want[0] != stack.Fleet || want[len(want)-1] != stack.Kafka {
			t.Errorf("stopped in the order %v, want %v", order, want)
		}
		if _, _, code := l.muster(t.Context(), "status"); code != 3 {
			t.Errorf("status exits %d", code)
		}
	})
}

// open connects as an analyst does.
func open(t *testing.T, ports stack.Ports) driver.Conn {
	t.Helper()
	db, err := clickhouse.Open(&clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{stack.Loopback(ports.ClickHouse)}, Auth: clickhouse.Auth{Database: "muster"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// publishes has mosquitto's client say something where the status says that MQTT is spoken.
func (l *local) publishes(t *testing.T) {
	stacktest.Require(t, inPath("mosquitto_pub"), "mosquitto_pub")
	mqtt := fmt.Sprintf("mqtts://127.0.0.1:%d", 8883+l.offset)
	if out, _, code := l.muster(t.Context(), "status"); code != 0 || !strings.Contains(out, mqtt+",") {
		t.Errorf("status exits %d and says %s", code, out)
	}
	if out := l.bash(t, fmt.Sprintf(`mosquitto_pub -L %s/telemetry --cafile .muster/demo/ca.pem --cert .muster/demo/cert.pem --key .muster/demo/key.pem -q 1 \
		-m '{"readings":[{"ts":'$(date +%%s)'000,"metrics":{"by_mqtt":true}}]}'`, mqtt)); out != "" {
		t.Errorf("mosquitto_pub: %s", out)
	}
}

// followWelcome runs the curl line and the query that `up` printed.
func (l *local) followWelcome(t *testing.T) {
	stacktest.Require(t, inPath("curl"), "curl")
	said := l.out.String()
	curl := regexp.MustCompile(`(?s)curl .*?/v1/telemetry\n`).FindString(said)
	query := regexp.MustCompile(`(?m)^ +(bin/muster query .*)$`).FindStringSubmatch(said)
	if curl == "" || query == nil {
		t.Fatalf("up printed no curl line or no query:\n%s", said)
	}
	l.known(t, ".muster/demo")
	if out := l.bash(t, curl); !strings.Contains(out, `"status":"stored"`) {
		t.Errorf("curl: %s", out)
	}
	l.publishes(t)
	l.eventually(t, "the reading can be queried", func() error {
		if out := l.bash(t, query[1]); !strings.Contains(out, "21.5") {
			return errors.New(out)
		}
		return nil
	})
}

func (l *local) bash(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail", "-c", script)
	cmd.Dir = l.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v: %s", script, err, out)
	}
	return string(out)
}

func (l *local) sendRecorded(t *testing.T, db driver.Conn) {
	nab, err := filepath.Abs("../../../shared/data/nab")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(nab); err != nil {
		t.Skip("SKIPPED: the recorded series are not beside this repository (../shared/data/nab)")
	}
	l.must(t, "device", "enroll", "recorder-1", "--cohort", "recorded", "--history", "--out", "recorder-1")
	l.known(t, "recorder-1")
	for _, name := range recorded {
		files, err := filepath.Glob(filepath.Join(nab, "*", name+".csv"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: %v, %v", name, files, err)
		}
		send := []string{"send", "--csv", files[0], "--device", "recorder-1", "--identity", "recorder-1", "--json"}
		l.must(t, send...)
		var again struct{ Messages, Duplicates int }
		if err := json.Unmarshal([]byte(l.must(t, send...)), &again); err != nil || again.Messages == 0 || again.Duplicates != again.Messages {
			t.Errorf("%s sent again: %+v, %v", name, again, err)
		}
		want, err := series.ReadFile(files[0], "")
		if err != nil {
			t.Fatal(err)
		}
		var got []point
		l.eventually(t, name+" is there", func() error {
			got = points(t, db, want.Metric)
			if len(got) < len(want.Times) {
				return fmt.Errorf("%d rows of %d", len(got), len(want.Times))
			}
			return nil
		})
		file := make([]point, len(want.Times))
		for i := range file {
			file[i] = point{want.Times[i], want.Values[i]}
		}
		slices.SortFunc(file, point.compare)
		slices.SortFunc(got, point.compare)
		if !slices.Equal(got, file) {
			t.Errorf("%s: %d rows in the file, %d in the store, and they differ", name, len(file), len(got))
		}
	}
}

// point is one row; values are compared bit for bit.
type point struct {
	ts    int64
	value float64
}

func (p point) compare(q point) int {
	if p.ts != q.ts {
		return int(min(1, max(-1, p.ts-q.ts)))
	}
	switch {
	case p.value < q.value:
		return -1
	case p.value > q.value:
		return 1
	}
	return 0
}

func points(t *testing.T, db driver.Conn, metric string) (out []point) {
	t.Helper()
	rows, err := db.Query(t.Context(), "SELECT ts, value FROM samples WHERE device = 'recorder-1' AND metric = ?", metric)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var ts time.Time
		var p point
		if err := rows.Scan(&ts, &p.value); err != nil {
			t.Fatal(err)
		}
		p.ts = ts.UnixMilli()
		out = append(out, p)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// killEach kills each process once, with no mercy, while devices send; what they were told is stored must be there
// once.
func (l *local) killEach(t *testing.T, db driver.Conn) {
	ctx, stop := context.WithCancel(t.Context())
	journal := filepath.Join(l.dir, "journal")
	var simulated output
	var wg sync.WaitGroup
	wg.Go(func() {
		cmd := exec.Command(filepath.Join(l.dir, "bin", "muster"), "simulate", "--devices", "10", "--step", "100ms", "--post", "400ms",
			"--reboot", "5s", "--resend", "0.1", "--journal", journal)
		cmd.Dir, cmd.Stdout, cmd.Stderr = l.dir, &simulated, &simulated
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return
		}
		<-ctx.Done()
		_ = cmd.Process.Signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil {
			t.Errorf("simulate: %v: %s", err, simulated.String())
		}
	})
	defer wg.Wait()
	defer stop()
	l.eventually(t, "devices send", func() error {
		if _, err := os.Stat(journal); err != nil {
			return err
		}
		if n := len(readJournal(t, journal)); n < 20 {
			return fmt.Errorf("%d messages were accepted", n)
		}
		return nil
	})
	for i := range l.status(t).Parts {
		p := l.status(t).Parts[i] // as it is now: a death before may have been too much for it
		if p.PID <= 0 {
			t.Fatalf("%s has no process: %s", p.Name, p.Reason)
		}
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		l.eventually(t, p.Name+" is back", func() error {
			for _, now := range l.status(t).Parts {
				if now.Name == p.Name && (now.PID == p.PID || now.Restarts == p.Restarts) {
					return errors.New("not started again")
				}
				if !now.Ready {
					return fmt.Errorf("%s: %s", now.Name, now.Reason)
				}
			}
			return nil
		})
	}
	l.eventually(t, "devices went on", func() error {
		if n := len(readJournal(t, journal)); n < 200 {
			return fmt.Errorf("only %d messages were accepted: %s", n, simulated.String())
		}
		return nil
	})
	stop()
	wg.Wait()
	accepted := readJournal(t, journal)
	l.eventually(t, "all that was accepted is stored once", func() error { return compare(t, db, accepted) })
	l.audit(t)
}

func readJournal(t *testing.T, path string) map[string]simulator.Line {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := map[string]simulator.Line{}
	for in := bufio.NewReader(f); ; {
		raw, err := in.ReadBytes('\n')
		if err == io.EOF {
			return lines // what is left is a line that is being written
		}
		var line simulator.Line
		if err == nil {
			err = json.Unmarshal(raw, &line)
		}
		if err != nil {
			t.Fatal(err)
		}
		lines[fmt.Sprintf("%s %d %d", line.Device, line.Boot, line.Seq)] = line
	}
}

// compare holds the stored messages to the journal.
func compare(t *testing.T, db driver.Conn, accepted map[string]simulator.Line) error {
	rows, err := db.Query(t.Context(), "SELECT d.device, l.boot, l.seq, l.hash, count() FROM ledger l JOIN devices d ON d.no = l.device_no "+
		"WHERE l.outcome = 'stored' AND startsWith(d.device, 'load-') GROUP BY ALL")
	if err != nil {
		return err
	}
	defer rows.Close()
	found := 0
	for rows.Next() {
		var device string
		var boot, hash uint32
		var seq, n uint64
		if err := rows.Scan(&device, &boot, &seq, &hash, &n); err != nil {
			return err
		}
		key := fmt.Sprintf("%s %d %d", device, boot, seq)
		if n != 1 {
			return fmt.Errorf("%s is stored %d times", key, n)
		}
		// What is not in the journal was accepted and its answer lost.
		if line, ok := accepted[key]; ok {
			if found++; line.Hash != hash {
				return fmt.Errorf("%s is stored with hash %d, sent with %d", key, hash, line.Hash)
			}
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if found != len(accepted) {
		return fmt.Errorf("%d of %d accepted messages are stored", found, len(accepted))
	}
	return nil
}

func (l *local) audit(t *testing.T) {
	t.Helper()
	if out, complaint, code := l.muster(t.Context(), "ledger", "audit"); code != 0 {
		t.Errorf("ledger audit: exit %d: %s%s", code, out, complaint)
	}
}

// fingerprint is of all rows that no longer grow: those of devices that are not simulated.
func fingerprint(t *testing.T, db driver.Conn) string {
	t.Helper()
	var n, sum uint64
	row := db.QueryRow(t.Context(), "SELECT count(), sum(cityHash64(device, metric, ts, value, ifNull(int, 0), text, fw)) FROM samples WHERE NOT startsWith(device, 'sim-')")
	if err := row.Scan(&n, &sum); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d rows, sum %x", n, sum)
}

// stored is the fingerprint once everything that the log holds now has its row in the ledger, which is written after what
// it speaks of. Simulated devices alone go on.
func (l *local) stored(t *testing.T, db driver.Conn, ports stack.Ports) string {
	t.Helper()
	secret, err := os.ReadFile(filepath.Join(l.dir, ".muster", "secrets", stack.SecretKafkaReader))
	if err != nil {
		t.Fatal(err)
	}
	cfg := eventlog.DefaultConfig()
	cfg.Brokers, cfg.User, cfg.Secret = []string{stack.Loopback(ports.Kafka)}, principals.Reader, daemon.Secret(strings.TrimSpace(string(secret)))
	log, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ends, err := kadm.NewClient(log).ListEndOffsets(t.Context(), record.TopicTelemetry, record.TopicEvents)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	want := uint64(0)
	ends.Each(func(o kadm.ListedOffset) { want += uint64(o.Offset) })
	l.eventually(t, "the ledger has what the log holds", func() error {
		var n uint64
		if err := db.QueryRow(t.Context(), "SELECT count() FROM ledger").Scan(&n); err != nil || n < want {
			return fmt.Errorf("%d of %d: %v", n, want, err)
		}
		return nil
	})
	return fingerprint(t, db)
}

func (l *local) rebuild(t *testing.T, db driver.Conn, ports stack.Ports) {
	before := l.stored(t, db, ports)
	if strings.HasPrefix(before, "0 ") {
		t.Error("nothing to rebuild")
	}
	l.must(t, "rebuild", "--yes")
	l.ready(t)
	l.eventually(t, "the same rows are back", func() error {
		if after := fingerprint(t, db); after != before {
			return fmt.Errorf("before %s, after %s", before, after)
		}
		return nil
	})
}
