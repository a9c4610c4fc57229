package kafka

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestWhatABrokerCannotDoIsRefusedWithTheFieldAndItsValue(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`listen "9092"`:                      func(c *Config) { c.Listen = "9092" },
		`listen "0.0.0.0:0": the embedded`:   func(c *Config) { c.Listen = "0.0.0.0:0" },
		"partitions -1: want at least 1":     func(c *Config) { c.Partitions = -1 },
		"max message bytes 1023: want at":    func(c *Config) { c.MaxMessageBytes = 1023 },
		"offsets retention 59m0s: want at":   func(c *Config) { c.OffsetsRetention = 59 * time.Minute },
		"min session -1s: want more than 0s": func(c *Config) { c.MinSession = -time.Second },
		"retention every 1µs: want at least": func(c *Config) { c.RetentionEvery = time.Microsecond },
		"users: none, so that nobody could":  func(c *Config) { c.NoAuth = false },
		`user "a": want a name and a secret`: func(c *Config) { c.Users = []User{{Name: "a"}} },
		`user "steward": the name is taken`:  func(c *Config) { c.Users = []User{{Name: steward, Secret: "s"}} },
	} {
		c := Config{Listen: "127.0.0.1:0", NoAuth: true}.withDefaults()
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestAMemberMayAskForNoShorterSessionThanTheBrokerSays(t *testing.T) {
	for _, c := range []struct {
		min, session time.Duration
		refused      bool
	}{
		{0, 6 * time.Second, false},
		{0, 6*time.Second - time.Millisecond, true},
		{time.Second, time.Second, false},
		{time.Second, time.Second - time.Millisecond, true},
	} {
		b := start(t, Config{NoAuth: true, MinSession: c.min})
		join := kmsg.NewPtrJoinGroupRequest()
		join.Group, join.ProtocolType = testGroup, "consumer"
		join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = int32(c.session.Milliseconds()), 1000
		protocol := kmsg.NewJoinGroupRequestProtocol()
		protocol.Name = "range"
		join.Protocols = append(join.Protocols, protocol)
		said, err := join.RequestWith(within(t), client(t, b.Addr(), "", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := errors.Is(kerr.ErrorForCode(said.ErrorCode), kerr.InvalidSessionTimeout); got != c.refused {
			t.Errorf("the least is %v: %v is asked for: %v", c.min, c.session, kerr.ErrorForCode(said.ErrorCode))
		}
	}
}
