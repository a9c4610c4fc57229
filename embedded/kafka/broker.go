package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"muster.dev/embedded/datadir"
)

// steward is the broker's own superuser, with a secret of this process's life: it writes the ACLs at the start
// and trims by Caps.
const steward = "steward"

// Broker is a running broker.
type Broker struct {
	cfg     Config
	addr    string
	cluster *kfake.Cluster
	gate    *gate
	lock    *os.File
	steward *kgo.Client

	stop  context.CancelFunc
	work  sync.WaitGroup
	close sync.Once
}

// Run starts a broker and stops it in order when ctx ends.
func Run(ctx context.Context, cfg Config) error {
	b, err := Start(cfg)
	if err != nil {
		return err
	}
	<-ctx.Done()
	b.Close()
	return nil
}

// Start returns when the broker serves its users. The error says what to do when the port or the data directory
// belongs to another process.
func Start(cfg Config) (*Broker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	b := &Broker{cfg: cfg}
	if err := b.start(); err != nil {
		b.Close()
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return b, nil
}

func (b *Broker) start() error {
	ln, err := listen(b.cfg.Listen)
	if err != nil {
		return err
	}
	b.gate, b.addr = newGate(ln, b.cfg.NoAuth), ln.Addr().String()
	if b.cfg.DataDir != "" {
		if b.lock, err = datadir.Lock(b.cfg.DataDir, "broker"); err != nil {
			return err
		}
		// The users and rights that kfake saved would win over those of the Config: a secret that was
		// changed because it leaked would still open the door.
		for _, name := range []string{"sasl.json", "acls.json"} {
			if err := os.Remove(filepath.Join(b.cfg.DataDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("forget the saved users: %w", err)
			}
		}
	}
	if b.cfg.DataDir != "" {
		if err := mend(b.cfg.DataDir, b.cfg.Log); err != nil {
			return err
		}
	}
	secret := rand.Text()
	if b.cluster, err = kfake.NewCluster(b.options(secret)...); err != nil {
		return fmt.Errorf("open the log in %s: %w", b.cfg.DataDir, err)
	}
	opts := []kgo.Opt{kgo.SeedBrokers(b.addr), kgo.Dialer(b.gate.dial), kgo.ClientID(steward), kgo.DisableClientMetrics()}
	if !b.cfg.NoAuth {
		opts = append(opts, kgo.SASL(scram.Auth{User: steward, Pass: secret}.AsSha256Mechanism()))
	}
	if b.steward, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("open the steward's client: %w", err)
	}
	if !b.cfg.NoAuth {
		if err := b.grant(); err != nil {
			return err
		}
	}
	b.gate.open()
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	b.work.Go(func() { b.retain(ctx) })
	b.work.Go(func() { b.gate.members.attend(ctx, b.steward.SeedBrokers()[0]) })
	b.cfg.Log.Info("kafka serves", "addr", b.addr, "data", b.cfg.DataDir, "sync", b.cfg.Sync)
	return nil
}

// listen opens the port before anything on disk is touched, and says who has it when it is taken.
func listen(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		_, port, _ := net.SplitHostPort(addr)
		return nil, fmt.Errorf("port %s is taken: stop what listens on %s (`muster status`, `ss -ltnp`), or move every port with --listen-offset: %w", port, addr, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return ln, nil
}

func (b *Broker) options(secret string) []kfake.Opt {
	c := b.cfg
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return b.gate, nil }),
		kfake.ClusterID("muster"),
		kfake.DefaultNumPartitions(c.Partitions),
		kfake.BrokerConfigs(map[string]string{
			// kfake's defaults stand behind each.
			"log.retention.ms":          "-1", // 604800000: every topic without a setting of its own
			"log.retention.bytes":       "-1",
			"message.max.bytes":         strconv.Itoa(c.MaxMessageBytes),                 // 1048588
			"offsets.retention.minutes": strconv.Itoa(int(c.OffsetsRetention.Minutes())), // 10080
			"log.cleaner.backoff.ms":    "300000",                                        // 3600000
		}),
		kfake.WithLogger(brokerLog{c}),
	}
	if c.MinSession > 0 {
		opts = append(opts, kfake.GroupMinSessionTimeout(c.MinSession))
	}
	if c.DataDir != "" {
		opts = append(opts, kfake.DataDir(c.DataDir))
		if c.Sync {
			opts = append(opts, kfake.SyncWrites())
		}
	}
	if c.NoAuth {
		return opts
	}
	opts = append(opts, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser(Mechanism, steward, secret))
	for _, u := range c.Users {
		if u.Super {
			opts = append(opts, kfake.Superuser(Mechanism, u.Name, u.Secret))
		} else {
			opts = append(opts, kfake.User(Mechanism, u.Name, u.Secret))
		}
	}
	return opts
}

// grant writes the users' ACLs. kfake takes ACLs from its options only on an empty data directory.
func (b *Broker) grant() error {
	req := kmsg.NewPtrCreateACLsRequest()
	for _, u := range b.cfg.Users {
		for _, a := range u.ACLs {
			c := kmsg.NewCreateACLsRequestCreation()
			c.ResourceType, c.ResourceName, c.ResourcePatternType = a.Resource, a.Name, a.Pattern
			c.Principal, c.Host, c.Operation = "User:"+u.Name, "*", a.Operation
			if a.Host != "" {
				c.Host = a.Host
			}
			c.PermissionType = kmsg.ACLPermissionTypeDeny
			if a.Allow {
				c.PermissionType = kmsg.ACLPermissionTypeAllow
			}
			req.Creations = append(req.Creations, c)
		}
	}
	if len(req.Creations) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	resp, err := req.RequestWith(ctx, b.steward)
	if err != nil {
		return fmt.Errorf("set the users' rights: %w", err)
	}
	for i, r := range resp.Results {
		if r.ErrorCode != 0 {
			msg := ""
			if r.ErrorMessage != nil {
				msg = *r.ErrorMessage
			}
			return fmt.Errorf("set the right of %s on %s: code %d %s", req.Creations[i].Principal, req.Creations[i].ResourceName, r.ErrorCode, msg)
		}
	}
	return nil
}

// Addr is where clients connect.
func (b *Broker) Addr() string { return b.addr }

// Cluster is kfake's handle, for tests that inject faults.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Check reports whether the broker answers, for a readiness probe.
func (b *Broker) Check(ctx context.Context) error {
	_, err := kadm.NewClient(b.steward).BrokerMetadata(ctx)
	return err
}

// Close stops accepting, writes what is in memory and gives the port and the directory back. It may be called
// more than once and waits for the broker's own goroutines.
func (b *Broker) Close() {
	b.close.Do(func() {
		if b.stop != nil {
			b.stop()
			b.work.Wait()
		}
		if b.steward != nil {
			b.steward.Close()
		}
		if b.cluster != nil {
			b.cluster.Close()
		}
		if b.gate != nil {
			b.gate.Close()
		}
		if b.lock != nil {
			b.lock.Close()
		}
	})
}

// brokerLog hands kfake's lines to slog, all but its debug chatter, and stops at the one kind of line that kfake
// goes on after and must not.
type brokerLog struct{ cfg Config }

func (l brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.cfg.Log.Error(fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		// "persist batch ...", "persist group entry ...", "persist pid entry ...": said in the goroutine that answers,
		// before it does. A commit that is not on the disk is acknowledged all the same, and an entry that was half
		// written makes the next start forget every later one.
		if strings.HasPrefix(format, "persist ") {
			l.cfg.Unwritable(fmt.Errorf("kafka: "+format, args...))
		}
		l.cfg.Log.Warn(fmt.Sprintf(format, args...))
	}
}
