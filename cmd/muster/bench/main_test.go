//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"muster.dev/cmd/muster/stack"
	engine "muster.dev/embedded/clickhouse"
	"muster.dev/embedded/kafka"
)

// envPart makes this binary another process of the benchmark; envConfig is the file of a part of the stack.
const (
	envPart    = "MUSTER_BENCH_PART"
	envConfig  = "MUSTER_BENCH_CONFIG"
	envProfile = "MUSTER_BENCH_PROFILE" // a directory: parts of the stack leave a CPU profile there
)

func TestMain(m *testing.M) {
	if part := os.Getenv(envPart); part != "" {
		os.Exit(play(part))
	}
	goleak.VerifyTestMain(m)
}

// play is the main function of the other processes. What is not a part of the stack reads its order as one line of
// JSON and ends when its input does.
func play(name string) int {
	if config := os.Getenv(envConfig); config != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if dir := os.Getenv(envProfile); dir != "" {
			file, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.pprof", name, os.Getpid())))
			if err == nil {
				err = pprof.StartCPUProfile(file)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 2
			}
			defer pprof.StopCPUProfile()
		}
		code, err := stack.Run(ctx, name, config, "bench")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		return code
	}
	in := json.NewDecoder(os.Stdin)
	var o order
	err := in.Decode(&o)
	if err == nil {
		switch name {
		case "log":
			err = playLog(o, in)
		case "store":
			err = playStore(o, in)
		case "bare":
			err = playBare(o, in)
		case "producer":
			err = playProducer(o, in)
		case "devices":
			err = playDevices(o, in)
		case "drain":
			err = playDrain(o)
		default:
			err = fmt.Errorf("no part %q", name)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		return 1
	}
	return 0
}

// order is what a part is told.
type order struct {
	Dir         string // of its data, or of the certificates
	Addr        string // that it talks to
	Store       string // address of the store
	Database    string
	Connections int
	Messages    int
	Records     bool // whether a bare handler produces what it reads
}

// until waits for the input to end.
func until(in *json.Decoder) error {
	var word string
	for {
		if err := in.Decode(&word); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// playLog is the broker as it ships, but for logins: every batch is on the disk before it is acknowledged.
func playLog(o order, in *json.Decoder) error {
	cfg := kafka.DefaultConfig()
	cfg.Listen, cfg.DataDir, cfg.NoAuth = "127.0.0.1:0", o.Dir, true
	b, err := kafka.Start(cfg)
	if err != nil {
		return err
	}
	defer b.Close()
	fmt.Println(b.Addr())
	return until(in)
}

// playStore is the engine as it ships, but for logins.
func playStore(o order, in *json.Decoder) error {
	cfg := engine.DefaultConfig()
	cfg.Listen, cfg.DataDir, cfg.ServiceUser, cfg.ServiceSecret = "127.0.0.1:0", o.Dir, storeUser, storeSecret
	s, err := engine.Start(cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Println(s.Addr())
	return until(in)
}

const storeUser, storeSecret = "bench", "bench-secret"
