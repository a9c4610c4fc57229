package health

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"muster.dev/proto/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, root, name, content string) {
	t.Helper()
	path := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sendable fails if a gateway would refuse the event.
func sendable(t *testing.T, e event.Device) {
	t.Helper()
	if err := (&event.Message{Events: []event.Device{e}}).Validate(); err != nil {
		t.Errorf("%+v: %v", e, err)
	}
}

func machine(t *testing.T) Machine {
	root := t.TempDir()
	write(t, root, "proc/uptime", "3600.55 7000.1\n")
	write(t, root, "proc/loadavg", "0.42 0.30 0.20 1/100 4242\n")
	write(t, root, "proc/meminfo", "MemTotal:  948000 kB\nMemFree: 1 kB\nMemAvailable:  512000 kB\n")
	write(t, root, "proc/self/statm", "2000 1000 1 1 0 1 0\n")
	write(t, root, "proc/sys/kernel/random/boot_id", "first\n")
	write(t, root, "proc/sys/kernel/osrelease", "6.6.31-rpi\n")
	write(t, root, "sys/class/thermal/thermal_zone0/temp", "48312\n")
	write(t, root, "sys/class/thermal/thermal_zone1/temp", "51000\n")
	write(t, root, "sys/class/thermal/thermal_zone2/temp", "not a number\n")
	return Machine{Root: root, Disk: root}
}

func TestVitalsAreWhatTheFilesSay(t *testing.T) {
	m := machine(t)
	v := m.Vitals()
	for field, want := range map[string]any{
		"uptime_s": int64(3600), "load_1": 0.42, "mem_total_kb": int64(948000), "mem_available_kb": int64(512000), "temp_c": 51.0,
		"agent_rss_kb": int64(1000 * os.Getpagesize() / 1024),
	} {
		if v[field] != want {
			t.Errorf("%s is %v, want %v", field, v[field], want)
		}
	}
	if free, ok := v["disk_free_kb"].(int64); !ok || free <= 0 {
		t.Errorf("%v", v["disk_free_kb"])
	}
	sendable(t, Event(event.Heartbeat, 0, v))
	bare := Machine{Root: t.TempDir(), Disk: "/nowhere/at/all"}
	if v := bare.Vitals(); len(v) != 0 {
		t.Errorf("%v of a machine that says nothing", v)
	}
	sendable(t, Event(event.Heartbeat, 0, Machine{Root: "/", Disk: "/"}.Vitals()))
}

func TestWhyItStarted(t *testing.T) {
	m := machine(t)
	path := filepath.Join(t.TempDir(), "life.json")
	begin := func(want string, clean, same bool) *Life {
		t.Helper()
		l, fields, sameKernel, err := m.Begin(path)
		if err != nil {
			t.Fatal(err)
		}
		if fields["reason"] != want || fields["clean"] != clean || sameKernel != same {
			t.Errorf("%v %v, want %s %v %v", fields, sameKernel, want, clean, same)
		}
		sendable(t, Event(event.Boot, 0, fields))
		return l
	}
	end := func(l *Life) {
		t.Helper()
		if err := l.End(); err != nil {
			t.Fatal(err)
		}
	}
	kernel := 0
	reboot := func() { kernel++; write(t, m.Root, "proc/sys/kernel/random/boot_id", fmt.Sprint(kernel)) }
	l := begin(FirstStart, true, false)
	end(l)
	begin(Restart, true, true)
	l = begin(Killed, false, true)
	end(l)
	reboot()
	begin(Reboot, true, false)
	reboot()
	begin(PowerLoss, false, false)
	reboot()
	write(t, m.Root, "sys/fs/pstore/dmesg-ramoops-0", "Oops")
	begin(Panic, false, false)
	reboot()
	write(t, m.Root, "sys/class/watchdog/watchdog0/bootstatus", "32\n")
	begin(Watchdog, false, false)
	write(t, filepath.Dir(path), "life.json", "{torn")
	begin(FirstStart, true, false)
}

func TestACrashReportIsToldWholeOrCutAndRemovedWhenItIsKept(t *testing.T) {
	m := machine(t)
	l, _, _, err := m.Begin(filepath.Join(t.TempDir(), "life.json"))
	if err != nil {
		t.Fatal(err)
	}
	drop := t.TempDir()
	for name, content := range map[string]string{
		"pump.log":    strings.Repeat("ä", 1500) + "the end",
		"core.bin":    "\x00\xff\xfe" + strings.Repeat("b", 100),
		"long.txt":    strings.Repeat("ö", 20_000) + "cause",
		"empty":       "",
		".unfinished": "still being written",
		"heap.large":  strings.Repeat("\xff", 40_000),
	} {
		write(t, drop, name, content)
	}
	write(t, m.Root, "sys/fs/pstore/dmesg-ramoops-0", "Kernel panic - not syncing")
	if err := os.Symlink("/etc/passwd", filepath.Join(drop, "link")); err != nil {
		t.Fatal(err)
	}
	reports, err := m.Crashes(time.Now(), l, drop)
	if err != nil || len(reports) != 6 {
		t.Fatalf("%d reports, %v", len(reports), err)
	}
	for _, r := range reports {
		sendable(t, r.Event)
		f := r.Event.Fields
		var body strings.Builder
		for i := 0; ; i++ {
			piece, ok := f[fmt.Sprintf("artifact_%02d", i)].(string)
			if !ok {
				break
			}
			body.WriteString(piece)
		}
		kept := []byte(body.String())
		if f["artifact_encoding"] == "base64" {
			if kept, err = base64.StdEncoding.DecodeString(body.String()); err != nil {
				t.Error(err)
			}
		}
		sum := sha256.Sum256(kept)
		if f["artifact_sha256"] != hex.EncodeToString(sum[:]) || len(kept) > MaxArtifact {
			t.Errorf("%v: %d bytes, another sum", f["artifact"], len(kept))
		}
		switch name := f["artifact"].(string); name {
		case "long.txt":
			if !strings.HasSuffix(string(kept), "cause") || f["artifact_truncated"] != true || f["reason"] != "long" || f["artifact_encoding"] != "text" {
				t.Errorf("%v", f["reason"])
			}
		case "pump.log":
			if f["artifact_truncated"] != false || string(kept) != strings.Repeat("ä", 1500)+"the end" {
				t.Error("pump.log is not whole")
			}
		case "dmesg-ramoops-0":
			if f["reason"] != "kernel" {
				t.Error(f["reason"])
			}
		}
	}
	if again, err := m.Crashes(time.Now(), l, drop); err != nil || len(again) != 6 {
		t.Errorf("%d reports before any was kept, %v", len(again), err)
	}
	for _, r := range reports {
		if err := r.Kept(); err != nil {
			t.Error(err)
		}
	}
	if again, err := m.Crashes(time.Now(), l, drop); err != nil || len(again) != 0 {
		t.Errorf("%d reports after all were kept, %v", len(again), err)
	}
}

func TestACrashReportThatCannotBeRemovedIsToldOnce(t *testing.T) {
	m := machine(t)
	path := filepath.Join(t.TempDir(), "life.json")
	l, _, _, err := m.Begin(path)
	if err != nil {
		t.Fatal(err)
	}
	drop := t.TempDir()
	write(t, drop, "a", "1")
	reports, err := m.Crashes(time.Now(), l, drop)
	if err != nil || len(reports) != 1 {
		t.Fatal(err)
	}
	if err := l.report(markOf(t, filepath.Join(drop, "a"))); err != nil {
		t.Fatal(err)
	}
	again, _, _, err := m.Begin(path)
	if err != nil {
		t.Fatal(err)
	}
	if reports, err := m.Crashes(time.Now(), again, drop); err != nil || len(reports) != 0 {
		t.Errorf("%d reports, %v", len(reports), err)
	}
	write(t, drop, "a", "another")
	if reports, err := m.Crashes(time.Now(), again, drop); err != nil || len(reports) != 1 {
		t.Errorf("%d reports of another file of that name, %v", len(reports), err)
	}
}

func markOf(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %d %d", path, info.Size(), info.ModTime().UnixNano())
}

func TestAnOldCrashIsToldAsOfNow(t *testing.T) {
	m := machine(t)
	l, _, _, err := m.Begin(filepath.Join(t.TempDir(), "life.json"))
	if err != nil {
		t.Fatal(err)
	}
	drop := t.TempDir()
	write(t, drop, "a", "1")
	if err := os.Chtimes(filepath.Join(drop, "a"), time.Unix(0, 0), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if r, err := m.Crashes(now, l, drop); err != nil || len(r) != 1 || r[0].Event.TS != now.UnixMilli() {
		t.Errorf("%+v %v", r, err)
	}
}

func TestComplaintsAreFewAndNoneIsForgotten(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := newSieve(now)
	told, stood := int64(0), int64(0)
	pass := func(c complaint) {
		if count, suppressed, ok := s.pass(c, now); ok {
			told++
			stood += count + suppressed
			sendable(t, c.event(now, count, suppressed))
		}
	}
	for i := range 1000 {
		pass(complaint{"kernel_err", "mmc0", fmt.Sprintf("timeout at block %d", i)})
	}
	if told != 1 {
		t.Errorf("one kind was told %d times", told)
	}
	for i := range 1000 {
		pass(complaint{"kernel_err", strings.Repeat("x", i), "another"})
	}
	if told != perHour {
		t.Errorf("%d were told in an hour", told)
	}
	for range 24 * 4 {
		now = now.Add(time.Hour)
		for i := range 40 {
			pass(complaint{"kernel_err", strings.Repeat("y", i), "another"})
		}
	}
	pending := s.suppressed
	for _, k := range s.kinds {
		pending += k.count
	}
	if total := stood + pending; total != 1000+1000+24*4*40 {
		t.Errorf("%d stood for, %d to come, of %d", stood, pending, 2000+24*4*40)
	}
	if len(s.kinds) > maxKinds {
		t.Errorf("%d kinds are remembered", len(s.kinds))
	}
}

func TestTheKernelsRecordsAreRead(t *testing.T) {
	for record, want := range map[string]complaint{
		"3,1234,5678901,-;EXT4-fs error (device mmcblk0p2): bad block\n SUBSYSTEM=block\n": {"kernel_err", "EXT4-fs error (device mmcblk0p2)", "EXT4-fs error (device mmcblk0p2): bad block"},
		"0,1,2,-;panic":           {"kernel_emerg", "", "panic"},
		"26,1,2,-,caller=T1;crit": {"kernel_crit", "", "crit"},
	} {
		if got, ok := parseKmsg(record); !ok || got != want {
			t.Errorf("%q: %+v", record, got)
		}
	}
	for _, record := range []string{"6,1,2,-;fine", "4,1,2,-;warning", "", ";", "x,1;y", "3,1,2,-;"} {
		if got, ok := parseKmsg(record); ok {
			t.Errorf("%q: %+v", record, got)
		}
	}
	c, _ := parseLine("a\x1b[2J\xffb: " + strings.Repeat("z", 5000))
	e := c.event(time.Now(), 1, 0)
	sendable(t, e)
	if strings.ContainsRune(e.Fields["message"].(string), 0x1b) {
		t.Errorf("%q", e.Fields["message"])
	}
}

func TestALogIsFollowedThroughItsReplacement(t *testing.T) {
	path := filepath.Join(t.TempDir(), "errors.log")
	write(t, filepath.Dir(path), "errors.log", "old: one\n")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := Complaints(ctx, path, false, func(e event.Device) { got = append(got, e.Fields["message"].(string)) }); err != nil {
				t.Error(err)
			}
		})
		look := func() { time.Sleep(lookEvery); synctest.Wait() } // of the bubble
		look()
		add(t, path, "pump: no")
		look()
		add(t, path, " pressure\nvalve: stuck\n")
		look()
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		look()
		add(t, path, "new: file\n")
		look()
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		look()
		add(t, path, "from: start\n")
		look()
		cancel()
		wg.Wait()
		if s := strings.Join(got, ", "); s != "pump: no pressure, valve: stuck, new: file, from: start" {
			t.Error(s)
		}
	})
}

func add(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestTheKernelsLogIsFollowedWhereItCanBe(t *testing.T) {
	if f, err := os.Open(Kmsg); err != nil {
		t.Skipf("SKIPPED: %v", err)
	} else {
		f.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := Complaints(ctx, Kmsg, true, func(e event.Device) { sendable(t, e) }); err != nil {
			t.Logf("not here: %v", err)
		}
	})
	cancel()
	wg.Wait()
}
