package deliver

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"muster.dev/proto/event"
)

// receiver sends messages, all in one request. A nil failure says that the receiver has them.
type receiver interface {
	send(ctx context.Context, list []message) *failure
}

// open makes a route's receiver, and says how it is to be told.
func (r Route) open(resolver *net.Resolver) (receiver, policy, error) {
	timeout := r.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	rate, repeat := r.Rate, r.Repeat
	if r.Alertmanager != nil {
		if rate == 0 {
			rate = defaultAlerts
		}
		if repeat == 0 {
			repeat = defaultResend
		}
		to, err := r.Alertmanager.open(r.Name, timeout, repeat, resolver)
		return to, policy{batch: alertBatch, most: rate, repeat: repeat, gap: repeat, hold: holds * repeat}, err
	}
	if rate == 0 {
		rate = defaultRate
	}
	switch {
	case repeat == 0:
		repeat = defaultRepeat
	case repeat < 0:
		repeat = 0
	}
	p := policy{batch: 1, rate: rate, repeat: repeat, doubles: 4, hush: true, gap: time.Minute}
	if r.PagerDuty != nil {
		to, err := r.PagerDuty.open(r.Name, timeout, resolver)
		return to, p, err
	}
	to, err := r.Webhook.open(r.Name, timeout, resolver)
	return to, p, err
}

func (d dialing) poster(timeout time.Duration, secrets ...string) (*poster, error) {
	client, err := d.client()
	if err != nil {
		return nil, err
	}
	return &poster{client: client, timeout: timeout, secrets: secrets}, nil
}

// moment is a time of the log, as receivers read it.
func moment(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// description is what there is to say beside the title.
func description(i *event.Incident) string {
	var b strings.Builder
	b.WriteString(i.Why)
	line := func(format string, args ...any) {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, format, args...)
	}
	if i.Cause != "" {
		line("Cause: %s.", i.Cause)
	}
	line("Since %s.", moment(i.Since))
	if i.Count > 0 {
		line("%d devices%s.", i.Count, devices(i))
	}
	if len(i.Numbers) > 0 {
		line("%s.", figures(i.Numbers))
	}
	line("muster incident show %s", i.ID)
	return b.String()
}

// devices names the first of them.
func devices(i *event.Incident) string {
	if len(i.Devices) == 0 {
		return ""
	}
	var ids []string
	for _, d := range i.Devices[:min(len(i.Devices), shown)] {
		ids = append(ids, d.ID)
	}
	out := ": " + strings.Join(ids, ", ")
	if int(i.Count) > len(ids) {
		out += ", ..."
	}
	return out
}

// figures are the numbers behind a verdict, in a line.
func figures(list []event.Number) string {
	var parts []string
	for _, n := range list {
		parts = append(parts, strings.TrimSpace(n.Name+" "+strconv.FormatFloat(float64(n.Micro)/1e6, 'g', 6, 64)+" "+n.Unit))
	}
	return strings.Join(parts, ", ")
}
