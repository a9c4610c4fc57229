package stack

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"muster.dev/embedded/kafka"
	"muster.dev/platform/eventlog"
)

// admitLibrdkafka lets librdkafka, and so kcat, log in: it looks for version 0 of the SASL handshake in what a
// broker says it speaks, though it then uses version 1, which is the only one that the embedded broker has. To
// librdkafka alone the broker therefore says that it has both.
func admitLibrdkafka(ctx context.Context, b *kafka.Broker, admin eventlog.Config) error {
	admin.Brokers = []string{b.Addr()}
	cl, err := kgo.NewClient(admin.Options()...)
	if err != nil {
		return fmt.Errorf("asking the broker what it speaks: %w", err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "muster", "1"
	spoken, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("asking the broker what it speaks: %w", err)
	}
	keys := slices.Clone(spoken.ApiKeys)
	for i := range keys {
		if keys[i].ApiKey == kmsg.SASLHandshake.Int16() {
			keys[i].MinVersion = 0
		}
	}
	cluster := b.Cluster()
	cluster.ControlKey(kmsg.ApiVersions.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		asked, ok := r.(*kmsg.ApiVersionsRequest)
		if !ok || asked.ClientSoftwareName != "librdkafka" || asked.Version > spoken.Version {
			return nil, nil, false
		}
		cluster.KeepControl()
		resp := asked.ResponseKind().(*kmsg.ApiVersionsResponse)
		resp.ApiKeys = slices.Clone(keys)
		return resp, nil, true
	})
	return nil
}
