package stack

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Ports are where a stack listens, all on the loopback interface.
type Ports struct {
	Gateway    int            `json:"gateway"`
	MQTT       int            `json:"mqtt"` // the gateway's other side
	EST        int            `json:"est"`  // the registry's side for devices
	Registry   int            `json:"registry"`
	ClickHouse int            `json:"clickhouse"`
	Kafka      int            `json:"kafka"`
	Ops        map[string]int `json:"ops"` // per process
}

// PortsAt are the documented ports, each moved by offset.
func PortsAt(offset int) (Ports, error) {
	if offset < 0 || 9107+offset > 65535 {
		return Ports{}, fmt.Errorf("--listen-offset %d: want 0 to %d, so that every port stays below 65536", offset, 65535-9107)
	}
	return Ports{
		Gateway: 8443 + offset, MQTT: 8883 + offset, EST: 8444 + offset, Registry: 8080 + offset, ClickHouse: 8123 + offset, Kafka: 9092 + offset,
		Ops: map[string]int{
			Kafka: 9100 + offset, ClickHouse: 9101 + offset, Registry: 9102 + offset, Sink: 9103 + offset,
			Retention: 9104 + offset, Gateway: 9105 + offset, Fleet: 9106 + offset, Anomaly: 9107 + offset,
		},
	}, nil
}

// All are the ports, in no order.
func (p Ports) All() []int {
	return slices.AppendSeq([]int{p.Gateway, p.MQTT, p.EST, p.Registry, p.ClickHouse, p.Kafka}, maps.Values(p.Ops))
}

// Loopback is the address of a port as the stack uses it.
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// GatewayURL is where devices post.
func (p Ports) GatewayURL() string { return "https://" + Loopback(p.Gateway) }

// MQTTURL is where devices publish.
func (p Ports) MQTTURL() string { return "mqtts://" + Loopback(p.MQTT) }

// RegistryURL is the operators' API.
func (p Ports) RegistryURL() string { return "http://" + Loopback(p.Registry) }

// ESTURL is where devices enrol.
func (p Ports) ESTURL() string { return "https://" + Loopback(p.EST) }

// ClickHouseURL is where analysts ask.
func (p Ports) ClickHouseURL() string { return "http://" + Loopback(p.ClickHouse) }

// OpsURL is a process's health and metrics.
func (p Ports) OpsURL(process string) string { return "http://" + Loopback(p.Ops[process]) }

// checkFree says which of the ports that the parts need is taken, by whom, and what to do. offset is theirs.
func (p Ports) checkFree(parts []string, offset int) error {
	taken, err := p.taken(parts)
	if err != nil || len(taken) == 0 {
		return err
	}
	const shown = 3
	if more := len(taken) - shown; more > 0 {
		taken = append(taken[:shown:shown], fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("%s: stop what holds it, or move every port of this stack with %s", strings.Join(taken, "; "), freeOffset(parts, offset))
}

// freeOffset is the flag that moves the parts to ports of which none is taken now.
func freeOffset(parts []string, after int) string {
	for offset := after + 100; offset < after+2000; offset += 100 {
		if p, err := PortsAt(offset); err != nil {
			break // past the last port
		} else if taken, err := p.taken(parts); err == nil && len(taken) == 0 {
			return fmt.Sprintf("--listen-offset %d", offset)
		}
	}
	return "--listen-offset N"
}

// taken has a sentence for each port of the parts that is not free.
func (p Ports) taken(parts []string) ([]string, error) {
	own := map[string][]int{Gateway: {p.Gateway, p.MQTT}, Registry: {p.Registry, p.EST}, ClickHouse: {p.ClickHouse}, Kafka: {p.Kafka}}
	var taken []string
	for _, part := range parts {
		for _, port := range append(slices.Clip(own[part]), p.Ops[part]) {
			if port == 0 {
				continue
			}
			l, err := net.Listen("tcp", Loopback(port))
			if err == nil {
				l.Close()
				continue
			}
			if !errors.Is(err, syscall.EADDRINUSE) {
				return nil, fmt.Errorf("listening on port %d for %s: %w", port, part, err)
			}
			taken = append(taken, fmt.Sprintf("port %d, which %s needs, is taken%s", port, part, holder(port)))
		}
	}
	return taken, nil
}

// holder names the process that listens on a port, where /proc tells; nothing otherwise.
func holder(port int) string {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		raw, _ := os.ReadFile(table) // absent where there is no /proc
		for line := range bytes.Lines(raw) {
			// sl local_address rem_address st ... uid timeout inode
			f := strings.Fields(string(line))
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		if err != nil || !inodes[to] {
			continue // ended meanwhile, or another user's
		}
		pid := strings.Split(fd, "/")[2]
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		return fmt.Sprintf(" by %s (process %s%s)", strings.TrimSpace(string(name)), pid, stackOf(pid))
	}
	return ""
}

// stackOf says of which stack a process is a part, if it is one.
func stackOf(pid string) string {
	cmdline, _ := os.ReadFile("/proc/" + pid + "/cmdline") // ended meanwhile, or another user's
	args := strings.Split(string(cmdline), "\x00")
	// muster process NAME --config DIR/config/NAME.yaml
	if i := slices.Index(args, "--config"); i > 1 && i+1 < len(args) && args[i-2] == "process" {
		return ", of the stack in " + Shown(filepath.Dir(filepath.Dir(args[i+1])))
	}
	return ""
}
