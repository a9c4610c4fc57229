package deliver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/anomaly/judgetest"
)

func TestAWebhookHearsOfAnIncidentFromItsBeginningToItsEnd(t *testing.T) {
	t.Parallel()
	j, p := newLog(t), newPlace(t)
	past := incident(9, event.SeverityCritical)
	j.Say(t, past, closed(past)) // before the route was there
	d := deliverTo(t, j, p.webhook("ops"))
	a := incident(1, event.SeverityWarning)
	j.Say(t, a)
	eventually(t, "the incident", func() bool { return slices.Equal(p.notices(t), []string{"opened " + a.ID}) })
	var n notice
	if err := json.Unmarshal(p.got()[0].body, &n); err != nil {
		t.Fatal(err)
	}
	if i := n.Incident; n.V != 1 || n.Route != "ops" || i.Kind != event.SilentCohort || i.Cause != "power" || i.Cohort != "c1" || i.Since != "2026-11-18T11:06:40.000Z" || i.Runbook == "" ||
		i.Count != 3 || i.Numbers["missing"] != 3 || !slices.Equal(i.Devices, []string{"pump-1"}) {
		t.Errorf("it says %s", p.got()[0].body)
	}
	settled(t, j, "ops")
	d.stop()
	if d.skipped("resolved") != 1 || d.count("sent") != 1 {
		t.Errorf("%v were not told, %v were", d.skipped("resolved"), d.count("sent"))
	}
	again := deliverTo(t, j, p.webhook("ops"))
	j.Say(t, closed(a))
	eventually(t, "its end", func() bool { return slices.Equal(p.notices(t), []string{"opened " + a.ID, "resolved " + a.ID}) })
	settled(t, j, "ops")
	again.stop()
	if strings.Contains(again.log.String()+d.log.String(), "hook/k3y") {
		t.Error("the log has the URL's secret")
	}
}

func TestPagerDutyIsTriggeredAcknowledgedAndResolvedUnderOneKey(t *testing.T) {
	t.Parallel()
	j, p := newLog(t), newPlace(t)
	p.set(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.WriteHeader(http.StatusAccepted)
		return true
	})
	deliverTo(t, j, p.pager("pages"))
	a := incident(1, event.SeverityCritical)
	for n, i := range []event.Incident{a, acked(a), closed(acked(a))} {
		j.Say(t, i)
		eventually(t, i.Type(), func() bool { return len(p.got()) == n+1 })
	}
	want(t, p.pages(t), "trigger "+a.ID, "acknowledge "+a.ID, "resolve "+a.ID)
	var e page
	if err := json.Unmarshal(p.got()[0].body, &e); err != nil {
		t.Fatal(err)
	}
	if s := e.Payload; s.Severity != "critical" || s.Source != "c1" || s.Class != "silent-cohort" || s.Summary != "c1: 3 of 10 devices are silent" || len(e.Links) != 1 {
		t.Errorf("the first is %s", p.got()[0].body)
	}
}

func TestARouteHearsOnlyOfWhatItIsAbout(t *testing.T) {
	t.Parallel()
	j, p := newLog(t), newPlace(t)
	r := p.webhook("north")
	r.Match = Match{Kinds: []string{"silent-cohort"}, Severities: []string{"critical"}, Cohorts: []string{"c1", "n?rth-*"}, Regions: []string{"eu"}}
	deliverTo(t, j, r)
	with := func(n int, change func(*event.Incident)) event.Incident {
		i := incident(n, event.SeverityCritical)
		i.Subject.Cohort = "north-7"
		change(&i)
		return i
	}
	later := with(6, func(i *event.Incident) { i.Severity = event.SeverityWarning })
	j.Say(t, with(2, func(i *event.Incident) { i.Kind = event.Spend }), with(3, func(i *event.Incident) { i.Subject.Cohort = "c2" }),
		with(4, func(i *event.Incident) { i.Subject.Region = "us" }), later, with(5, func(*event.Incident) {}))
	eventually(t, "what it is about", func() bool { return len(p.got()) == 1 })
	j.Say(t, then(later, func(i *event.Incident) { i.Severity = event.SeverityCritical }))
	eventually(t, "what it came to be about", func() bool { return len(p.got()) == 2 })
	want(t, p.notices(t), "opened "+id(5), "opened "+id(6))
	settled(t, j, "north")
}

func TestASlowReceiverHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	j, slow, quick := newLog(t), newPlace(t), newPlace(t)
	hold := make(chan struct{})
	slow.set(func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
		return true
	})
	deliverTo(t, j, slow.webhook("slow"), quick.webhook("quick"))
	for n := range 5 {
		j.Say(t, incident(n, event.SeverityWarning))
		eventually(t, "an incident at the quick one", func() bool { return len(quick.got()) == n+1 })
	}
	settled(t, j, "quick")
	if at, _ := committed(t, j, "slow"); at > 0 {
		t.Errorf("the slow one's offset is %d", at)
	}
	close(hold)
	eventually(t, "all at the slow one", func() bool { return len(slow.notices(t)) == 5 })
	settled(t, j, "slow")
}

func TestWhatAReceiverDoesNotTakeIsSentAgainUntilItDoes(t *testing.T) {
	t.Parallel()
	j, p, elsewhere := newLog(t), newPlace(t), newPlace(t)
	var times atomic.Int32
	p.set(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		switch times.Add(1) {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, "no ", secret)
		case 2:
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		default:
			return true
		}
		return false
	})
	r := p.webhook("ops")
	d := deliverTo(t, j, r)
	a, b := incident(1, event.SeverityCritical), incident(2, event.SeverityWarning)
	j.Say(t, a, b)
	eventually(t, "both", func() bool { return len(p.got()) == 2 })
	want(t, p.notices(t), "opened "+a.ID, "opened "+b.ID)
	if n := elsewhere.times(); n > 0 {
		t.Errorf("the redirect was followed %d times", n)
	}
	settled(t, j, "ops")
	d.stop()
	if d.count("failed") != 2 || d.count("sent") != 2 {
		t.Errorf("%v failed, %v were sent", d.count("failed"), d.count("sent"))
	}
	if log := d.log.String(); !strings.Contains(log, "HTTP 500") || strings.Contains(log, secret) || !strings.Contains(log, "redirects are not followed") {
		t.Errorf("the log says\n%s", log)
	}
}

// What a receiver says it will never take is told in the log and counted; it holds up nothing.
func TestAMessageThatIsRefusedHoldsNothingUp(t *testing.T) {
	t.Parallel()
	j, p := newLog(t), newPlace(t)
	bad := incident(1, event.SeverityCritical)
	p.set(func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
		if strings.Contains(string(body), bad.ID) {
			http.Error(w, "invalid event", http.StatusBadRequest)
			return false
		}
		return true
	})
	d := deliverTo(t, j, p.pager("pages"))
	j.Say(t, bad, incident(2, event.SeverityWarning))
	settled(t, j, "pages")
	want(t, p.pages(t), "trigger "+id(2))
	d.stop()
	if d.count("refused") != 1 {
		t.Errorf("%v were refused", d.count("refused"))
	}
}

func TestTenThousandIncidentsAtOnceAreNoStorm(t *testing.T) {
	t.Parallel()
	j, p := newLog(t), newPlace(t)
	r := p.webhook("ops")
	r.Rate = 5
	const many = 10_000
	for n := 0; n < many; {
		var list []judgetest.Said
		for ; len(list) < 1000; n++ {
			severity := event.SeverityWarning
			if n == 9_876 {
				severity = event.SeverityCritical
			}
			list = append(list, incident(n, severity))
		}
		j.Say(t, list...)
	}
	d := deliverTo(t, j, r)
	settled(t, j, "ops")
	got := p.notices(t)
	if len(got) != 6 || got[0] != "opened "+id(9_876) || got[5] != "opened many" {
		t.Fatalf("%d messages: %q", len(got), got[:min(len(got), 10)])
	}
	var n notice
	if err := json.Unmarshal(p.got()[5].body, &n); err != nil || n.Summary.Open != many-5 || n.Summary.Title != "9995 more incidents are open: 9995 silent-cohort" {
		t.Errorf("the summary is %s", p.got()[5].body)
	}
	if _, place := committed(t, j, "ops"); !strings.HasSuffix(place, "sum=5-9875,9877-9999") && !strings.Contains(place, "sum=") {
		t.Errorf("its place is %q", place)
	}
	d.stop()
	// Another process tells none of them again, nor that they end.
	again := deliverTo(t, j, r)
	ends := []judgetest.Said{closed(incident(9_876, event.SeverityCritical))}
	for n := range 1000 {
		ends = append(ends, closed(incident(n, event.SeverityWarning)))
	}
	j.Say(t, ends...)
	eventually(t, "the end of the worst", func() bool { return slices.Contains(p.notices(t), "resolved "+id(9_876)) })
	eventually(t, "the end of the others", func() bool { return gauge(again.routes[0].m.open, "ops") == many-1001 && len(p.notices(t)) >= 12 })
	for _, s := range p.notices(t)[6:] {
		if strings.HasPrefix(s, "opened ") {
			t.Errorf("it says %q", s)
		}
	}
}

func TestARecordThatCannotBeReadIsPassedOver(t *testing.T) {
	t.Parallel()
	j, p := newLog(t), newPlace(t)
	d := deliverTo(t, j, p.webhook("ops"))
	j.Append(t, &kgo.Record{Topic: record.TopicIncidents, Value: []byte{0xc1}, Headers: []kgo.RecordHeader{{Key: record.HeaderType, Value: []byte(event.TypeIncidentOpened)}}})
	j.Say(t, incident(1, event.SeverityWarning))
	eventually(t, "the incident", func() bool { return len(p.got()) == 1 })
	settled(t, j, "ops")
	if d.skipped("unreadable") != 1 {
		t.Errorf("%v unreadable ones were counted", d.skipped("unreadable"))
	}
}

// A process is killed when the receiver has its message and before the group has the offset. Whoever comes next sends it again,
// under the same key; and where the incident is over by then, says so.
func TestADeathBetweenSendingAndCommittingRepeatsTheMessageUnderItsKey(t *testing.T) {
	t.Parallel()
	for _, over := range []bool{false, true} {
		t.Run(fmt.Sprintf("over %v", over), func(t *testing.T) {
			j, p := newLog(t), newPlace(t)
			took := make(chan struct{})
			p.set(func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
				close(took)
				<-r.Context().Done() // it lives no longer than its connection
				return true
			})
			r := p.pager("pages")
			a := incident(1, event.SeverityCritical)
			j.Say(t, a)
			cmd := child{Brokers: j.Config.Brokers, Config: r.alone()}.run(t)
			select {
			case <-took:
			case <-time.After(limit):
				t.Error("nothing was sent")
			}
			kill(t, cmd)
			eventually(t, "the end of its connection", func() bool { return len(p.got()) == 1 })
			p.set(nil)
			if over {
				j.Say(t, closed(a))
			}
			deliverTo(t, j, r)
			eventually(t, "the message of another process", func() bool { return len(p.got()) == 2 })
			if over {
				want(t, p.pages(t), "trigger "+a.ID, "resolve "+a.ID)
			} else {
				want(t, p.pages(t), "trigger "+a.ID, "trigger "+a.ID)
			}
			settled(t, j, "pages")
		})
	}
}

func TestOfTwoProcessesOneDelivers(t *testing.T) {
	t.Parallel()
	j, p := newLog(t), newPlace(t)
	one, two := deliverTo(t, j, p.webhook("ops")), deliverTo(t, j, p.webhook("ops"))
	for n := range 6 {
		j.Say(t, incident(n, event.SeverityWarning))
		eventually(t, "an incident", func() bool { return len(p.got()) > n })
		settled(t, j, "ops")
		if n == 3 {
			one.stop()
		}
	}
	two.stop()
	if n := len(p.got()); n != 6 {
		t.Errorf("%d messages about 6 incidents: %q", n, p.notices(t))
	}
}
