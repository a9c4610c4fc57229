package datadir

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// envChild makes the test binary a process that holds that directory until it is killed.
const envChild = "MUSTER_TEST_DATADIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envChild); dir != "" {
		f, err := Lock(dir, "engine")
		if err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Stdout.WriteString("held\n")
		_, _ = os.Stdin.Read(make([]byte, 1)) // a lone select {} would be a deadlock to the runtime, which ends the process
		f.Close()                             // not before: what nobody refers to is closed
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func TestADirectoryIsHeldByOneAndComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "deep")
	f, err := Lock(dir, "engine")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir, "engine"); err == nil || !strings.Contains(err.Error(), "another engine runs on "+dir) {
		t.Errorf("the second: %v", err)
	}
	other, err := Lock(dir, "other")
	if err != nil {
		t.Errorf("another engine's lock: %v", err)
	} else {
		other.Close()
	}
	f.Close()
	if f, err = Lock(dir, "engine"); err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	f.Close()
}

func TestAKilledProcessGivesItsDirectoryBackAtOnce(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envChild+"="+dir)
		stdin, err := cmd.StdinPipe() // open until the process is killed
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
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || line != "held\n" {
			t.Errorf("child: %q, %v", line, err)
		}
		if _, err := Lock(dir, "engine"); err == nil {
			t.Error("locked beside a process that holds it")
		}
		cmd.Process.Kill()
		cmd.Wait()
		stdin.Close()
	}
	f, err := Lock(dir, "engine")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestADirectoryThatCannotBeIsSaid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(filepath.Join(file, "dir"), "engine"); err == nil {
		t.Error("a directory below a file was taken")
	}
}
