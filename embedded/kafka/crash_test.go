package kafka

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"
)

// envChild makes the test binary a broker on that directory, so that a test can kill it.
const envChild = "MUSTER_TEST_KAFKA_DIR"

func runChild(dir string) {
	b, err := Start(Config{
		Listen: "127.0.0.1:0", DataDir: dir, Sync: true, NoAuth: true,
		Unwritable: func(error) { os.Exit(3) },
	})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("addr", b.Addr())
	select {} // until killed
}

func startChild(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envChild+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var what, addr string
	line, err := bufio.NewReader(out).ReadString('\n')
	if n, _ := fmt.Sscan(line, &what, &addr); err != nil || n != 2 || what != "addr" {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("child: %q, %v", line, err)
	}
	return cmd, addr
}

// A broker that is killed while it takes records gives every acknowledged one back, once and in order.
func TestAKilledBrokerLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	var acked sync.Map
	sent, kills := 0, 6
	for round := range kills {
		cmd, addr := startChild(t, dir)
		cl := client(t, addr, "", "", kgo.MaxBufferedRecords(200), kgo.ProducerLinger(0))
		if round == 0 {
			createTopics(t, cl, "t")
		}
		ctx, cancel := context.WithCancel(within(t))
		var n atomic.Int64
		for ctx.Err() == nil {
			cl.Produce(ctx, &kgo.Record{Topic: "t", Value: []byte(strconv.Itoa(sent))}, func(r *kgo.Record, err error) {
				if err == nil {
					acked.Store(string(r.Value), r.Offset)
					if n.Add(1) == int64(500+300*round) {
						cmd.Process.Kill() // in the middle of it: more is in flight
						cancel()
					}
				}
			})
			sent++
		}
		cmd.Process.Kill()
		cmd.Wait()
		cancel()
		cl.Close()
	}

	cmd, addr := startChild(t, dir)
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	got, err := readAll(t, addr, "", "", "t")
	if err != nil {
		t.Fatal(err)
	}
	at := make(map[string]int64)
	for i, v := range got {
		if _, twice := at[v]; twice {
			t.Fatalf("record %s is there twice", v)
		}
		at[v] = int64(i)
	}
	n, lost := 0, errors.New("")
	acked.Range(func(k, v any) bool {
		n++
		if off, ok := at[k.(string)]; !ok || off != v.(int64) {
			lost = fmt.Errorf("record %s, acknowledged at offset %d, is at %d (%v)", k, v, off, ok)
			return false
		}
		return true
	})
	if n == 0 || lost.Error() != "" {
		t.Fatalf("%d acknowledged: %v", n, lost)
	}
	t.Logf("%d kills, %d sent, %d acknowledged, %d in the log", kills, sent, n, len(got))
}

// A commit that cannot be written is not acknowledged, nor is any after it: the broker ends, and starts with what it had.
func TestABrokerThatCannotWriteEndsBeforeItAcknowledges(t *testing.T) {
	dir := t.TempDir()
	cmd, addr := startChild(t, dir)
	cl := client(t, addr, "", "")
	createTopics(t, cl, "t")
	commit := func(adm *kadm.Client, at int64) error {
		var offsets kadm.Offsets
		offsets.AddOffset("t", 0, at, -1)
		return adm.CommitAllOffsets(within(t), "g", offsets)
	}
	adm := kadm.NewClient(cl)
	if err := commit(adm, 5); err != nil {
		t.Fatal(err)
	}
	// No file of the process may grow past what the group's log has now and a few bytes: the next entry is cut.
	st, err := os.Stat(filepath.Join(dir, "groups.log"))
	if err != nil {
		t.Fatal(err)
	}
	limit := unix.Rlimit{Cur: uint64(st.Size()) + 10, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		t.Skipf("limiting the size of files: %v", err)
	}
	if err := commit(adm, 6); err == nil {
		t.Error("a commit that was not written is acknowledged")
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("the broker ended with %v", err)
	}
	for at := int64(7); at < 9; at++ { // what is committed after the cut entry is there after the next start
		cmd, addr := startChild(t, dir)
		again := client(t, addr, "", "")
		adm := kadm.NewClient(again)
		if err := commit(adm, at); err != nil {
			t.Fatal(err)
		}
		got, err := adm.FetchOffsets(within(t), "g")
		if o, _ := got.Lookup("t", 0); err != nil || o.At != at {
			t.Errorf("committed %d, read %d, %v", at, o.At, err)
		}
		again.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}
	cmd, addr = startChild(t, dir)
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	last := client(t, addr, "", "")
	got, err := kadm.NewClient(last).FetchOffsets(within(t), "g")
	if o, _ := got.Lookup("t", 0); err != nil || o.At != 8 {
		t.Errorf("committed 8, read %d after the last start, %v", o.At, err)
	}
}
