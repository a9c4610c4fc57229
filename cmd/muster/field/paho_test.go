package field

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"muster.dev/cmd/muster/stack/stacktest"
)

// A client that people have, and an edge that dies under it.
func TestPahoThroughAnEdgeThatIsKilled(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3"
	stacktest.Require(t, exec.Command(python, "-c", "import paho.mqtt.client").Run() == nil, "paho for Python")
	const count = 200
	s := open(t, "edge-1", "d-1")
	s.letAct("edge-1", "d-1")
	s.start()
	cfg := s.configure("edge-1")
	kill := s.process(cfg)
	host, port, err := net.SplitHostPort(cfg.MQTT.Listen)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/publish.py", host, port, "d-1", strconv.Itoa(count))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]map[int]bool{"d-1": {}}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		told["d-1"][n] = true
		if len(told["d-1"]) == count/4 {
			kill()
			kill = s.process(cfg)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(told["d-1"]) != count {
		t.Errorf("%d messages of %d were answered for", len(told["d-1"]), count)
	}
	var l logged
	eventually(t, "messages that were answered for are lost", func() bool { l = s.read(); return l.whole(told) })
	l.compare(t, told, true)
}
