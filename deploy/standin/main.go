package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"

	"muster.dev/embedded/clickhouse"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "standin:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "kafka":
		return kafka(ctx)
	case len(args) == 1 && args[0] == "clickhouse":
		return store(ctx)
	}
	return errors.New("usage: standin kafka|clickhouse")
}

// advertised is a listener that tells clients a name of the container's network instead of its own address.
type advertised struct {
	net.Listener
	name string
}

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

func (l advertised) Addr() net.Addr { return address(l.name) }

func kafka(ctx context.Context) error {
	user, rest, ok := strings.Cut(os.Getenv("RP_BOOTSTRAP_USER"), ":")
	secret, mechanism, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 {
		return errors.New("RP_BOOTSTRAP_USER is not user:secret:mechanism")
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser(mechanism, user, secret), kfake.DataDir("/var/lib/redpanda/data"), kfake.SyncWrites(),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			l, err := net.Listen(network, "0.0.0.0:9092")
			return advertised{l, "redpanda:9092"}, err
		}))
	if err != nil {
		return err
	}
	defer c.Close()
	<-ctx.Done()
	return nil
}

func store(ctx context.Context) error {
	cfg := clickhouse.DefaultConfig()
	cfg.Listen, cfg.DataDir = "127.0.0.1:18123", "/var/lib/clickhouse/engine"
	cfg.ServiceUser, cfg.ServiceSecret = "muster", os.Getenv("MUSTER_CLICKHOUSE_SECRET")
	server, err := clickhouse.Start(cfg)
	if err != nil {
		return err
	}
	defer server.Close()
	return forward(ctx, "0.0.0.0:8123", cfg.Listen)
}

// forward opens a loopback port to the container's network until ctx ends.
func forward(ctx context.Context, from, to string) error {
	l, err := net.Listen("tcp", from)
	if err != nil {
		return err
	}
	var open sync.WaitGroup
	defer open.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		in, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		open.Go(func() { pipe(ctx, in, to) })
	}
}

func pipe(ctx context.Context, in net.Conn, to string) {
	defer in.Close()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	stop := context.AfterFunc(ctx, func() { in.Close(); out.Close() })
	defer stop()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			// Errors end the connection, which is all that either side has to know.
			_, _ = io.Copy(way[1], way[0])
			if half, ok := way[1].(*net.TCPConn); ok {
				_ = half.CloseWrite()
			}
		})
	}
	both.Wait()
}
