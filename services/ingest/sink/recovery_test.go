package sink

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"muster.dev/proto/batch"
	"muster.dev/proto/event"
	"muster.dev/proto/record"
	"muster.dev/services/ingest/sign"
	"muster.dev/services/ingest/sink/plan"
)

// dieAt runs a sink that dies at a point of the protocol.
func (w *world) dieAt(point string) {
	w.t.Helper()
	cfg := w.cfg
	cfg.CrashAt = point
	p := w.spawn(cfg)
	select {
	case <-p.done:
	case <-time.After(patience):
		w.t.Fatalf("%s: the sink did not die\n%s", point, p.out.String())
	}
}

// quiet waits until what a dead sink had under way has landed. A store that forgets tokens has been started anew, and
// nothing outlives that; and who takes rows of an unknown plan back waits for a minute where these tests wait for 0.1 s.
func (w *world) quiet() {
	w.t.Helper()
	var last uint64
	var since time.Time
	w.until("the store is quiet", patience, func() (bool, string) {
		n := w.count("SELECT sum(rows) FROM system.parts WHERE database = '"+w.house.Database()+"' AND active") + 1
		busy := w.count("SELECT count() FROM system.processes WHERE startsWith(query, 'INSERT')")
		if n != last || busy > 0 {
			last, since = n, time.Now()
		}
		return time.Since(since) > time.Second, "rows still come"
	})
}

// exec runs a statement in the store.
func (w *world) exec(sql string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.house.Conn().Exec(ctx, strings.ReplaceAll(sql, "DB.", "`"+w.house.Database()+"`.")); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// landed is an open plan that has rows in the store. The partitions' workers run side by side, so others may have got no
// further than their plan when one had its first insert acknowledged and the sink died.
func (w *world) landed() plan.Plan {
	w.t.Helper()
	for _, p := range w.opens() {
		if len(w.strays(p)) > 0 {
			return p
		}
	}
	w.t.Fatal("no open plan has rows in the store")
	return plan.Plan{}
}

// strays are the rows of a plan's partition from the plan on, by table. The topic is the first that was defined.
func (w *world) strays(p plan.Plan) map[string]uint64 {
	w.t.Helper()
	rows, err := store{w.house}.strays(w.t.Context(), telemetryGen, uint16(p.Part), uint64(p.From))
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// telemetryGen is the generation of the first topic that a world defines.
const telemetryGen = 1

// open is some plan that stands in the group's commits, which a sink has left half done.
func (w *world) open() plan.Plan {
	w.t.Helper()
	all := w.opens()
	if len(all) == 0 {
		w.t.Fatal("no plan is open")
	}
	return all[0]
}

func (w *world) opens() (all []plan.Plan) {
	w.t.Helper()
	for part := range int32(parts) {
		at, metadata := w.committed(record.TopicTelemetry, part)
		if at < 0 {
			continue
		}
		if m, err := plan.Decode(metadata, part, at); err == nil && m.Open != nil {
			all = append(all, *m.Open)
		}
	}
	return all
}

// age makes a plan look as if it were older than the store's life.
func (w *world) age(p plan.Plan) {
	w.t.Helper()
	p.At = 1
	text, err := plan.Mark{Topic: p.Topic, Part: p.Part, Next: p.From, Open: &p}.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	w.group(func() { w.commit(record.TopicTelemetry, p.Part, p.From, text) })
}

// group does something when the group has no members: the broker then takes commits from anybody.
func (w *world) group(fn func()) {
	w.t.Helper()
	w.until("the dead member is gone", patience, func() (bool, string) {
		groups, err := w.adm.DescribeGroups(w.t.Context(), w.cfg.Group)
		if err != nil {
			return false, err.Error()
		}
		g := groups[w.cfg.Group]
		return len(g.Members) == 0, g.State
	})
	fn()
}

// partition is some day of the overflow table that an open plan has rows in.
func (w *world) partitionOf(table string, p plan.Plan) string {
	w.t.Helper()
	var id string
	sql := fmt.Sprintf("SELECT any(toString(_partition_id)) FROM `%s`.%s WHERE part = %d AND off >= %d", w.house.Database(), table, p.Part, p.From)
	if err := w.house.Conn().QueryRow(w.t.Context(), sql).Scan(&id); err != nil || id == "" {
		w.t.Fatalf("no rows of the plan in %s: %v", table, err)
	}
	return id
}

func (w *world) finish() *running {
	w.t.Helper()
	s := w.start(w.cfg)
	w.stored(patience)
	s.stop()
	w.audit()
	return s
}

func TestABatchOfWhichSomeDaysLandedIsCompleted(t *testing.T) {
	for name, forgotten := range map[string]bool{"tokens are known": false, "tokens are forgotten": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.send(200)
			w.dieAt(atInsertAcked)
			w.quiet()
			p := w.landed()
			// Of the days that landed, one goes again: with the tokens still known for the others, and without.
			w.exec("ALTER TABLE DB.s_other DROP PARTITION ID '" + w.partitionOf("s_other", p) + "'")
			if forgotten {
				w.exec("ALTER TABLE DB.s_other MODIFY SETTING non_replicated_deduplication_window = 0")
				w.exec("ALTER TABLE DB.s_other MODIFY SETTING non_replicated_deduplication_window = 100000")
				for _, p := range w.opens() {
					w.age(p)
				}
			}
			s := w.finish()
			if forgotten && s.metric("muster_sink_repairs_total") == 0 {
				t.Error("nothing was repaired")
			}
		})
	}
}

func TestAPlanThatLandedBeforeItsTokensWereForgottenIsNotSentAgain(t *testing.T) {
	w := newWorld(t)
	w.send(100)
	w.dieAt(atInsertAcked)
	w.quiet()
	for _, table := range []string{"s_other", "ledger"} {
		w.exec("ALTER TABLE DB." + table + " MODIFY SETTING non_replicated_deduplication_window = 0")
		w.exec("ALTER TABLE DB." + table + " MODIFY SETTING non_replicated_deduplication_window = 100000")
	}
	w.finish()
}

func TestJunkInTheMetadataIsNoReasonToInsertBlindly(t *testing.T) {
	for name, junk := range map[string]string{"erased": "", "a member's id": "kgo-5ac35a3e", "a later version": `{"v":9}`} {
		for _, point := range []string{atInsertAcked, atLedgerAcked} {
			if point == atLedgerAcked && junk != "" {
				continue // what stands there matters no more than once
			}
			t.Run(name+" at "+point, func(t *testing.T) {
				w := newWorld(t)
				w.defineProfile(1)
				w.send(150)
				w.dieAt(point)
				w.quiet()
				p := w.landed()
				w.group(func() { w.commit(record.TopicTelemetry, p.Part, p.From, junk) })
				s := w.start(w.cfg)
				w.until("the alarm", patience, func() (bool, string) {
					return s.metric("muster_sink_alarms_total", "kind", alarmMetadata) > 0, "no alarm"
				})
				w.stored(patience)
				s.stop()
				w.audit()
				if point == atInsertAcked && s.metric("muster_sink_alarms_total", "kind", alarmStrays) == 0 {
					t.Error("the rows of the lost plan were not taken back")
				}
			})
		}
	}
}

// It looked at the ledger, was stopped for long, and wakes when the rows are another's.
func TestAWorkerThatIsNoOwnerTakesNothingBack(t *testing.T) {
	w := newWorld(t)
	w.defineProfile(1)
	w.send(150)
	w.dieAt(atInsertAcked)
	p := w.landed()
	before := w.strays(p)
	s, err := New(w.cfg, Settings{Warehouse: w.house})
	if err != nil {
		t.Fatal(err)
	}
	ses := &session{sink: s, cl: w.cl, kick: make(chan struct{}, 1), workers: map[place]*worker{}}
	old := newWorker(ses, place{record.TopicTelemetry, p.Part}, p.Topic, beginning{at: p.From, blind: true, bounds: bounds{end: p.To + 1}})
	old.gen = telemetryGen
	old.live = false // the group would not take its commit
	if _, err := old.askLedger(t.Context(), p.From); !errors.Is(err, errLost) {
		t.Errorf("it goes on: %v", err)
	}
	after := w.strays(p)
	for table, n := range before { // more may have come: the dead sink had inserts under way
		if after[table] < n {
			t.Errorf("rows of the partition: %v, there were %v", after, before)
		}
	}
	w.finish()
}

func TestAGroupThatLostItsCommitsAsksTheLedger(t *testing.T) {
	w := newWorld(t)
	w.send(150)
	s := w.start(w.cfg)
	w.stored(patience)
	s.stop()
	w.cfg.Group = "another"
	w.send(50)
	w.finish()
}

// A broker that lost the end of what it kept gives a commit that was true once: with no plan, or with one that landed
// long ago.
func TestACommitThatTheLedgerHasOvertakenIsNotBelieved(t *testing.T) {
	for _, point := range []string{"", atLedgerAcked} {
		t.Run("of a sink that died at "+point, func(t *testing.T) {
			w := newWorld(t)
			w.send(150)
			if point == "" {
				s := w.start(w.cfg)
				w.stored(patience)
				s.stop()
			} else {
				w.dieAt(point)
			}
			type kept struct {
				offset   int64
				metadata string
			}
			var old [parts]kept
			for p := range old {
				old[p].offset, old[p].metadata = w.committed(record.TopicTelemetry, int32(p))
			}
			w.send(150)
			s := w.start(w.cfg)
			w.stored(patience)
			s.stop()
			w.group(func() {
				for p, k := range old {
					if k.offset >= 0 {
						w.commit(record.TopicTelemetry, int32(p), k.offset, k.metadata)
					}
				}
			})
			w.send(50)
			s = w.start(w.cfg)
			w.stored(patience)
			s.stop()
			w.audit()
			if s.metric("muster_sink_alarms_total", "kind", alarmMetadata) == 0 {
				t.Error("nobody says that commits were lost")
			}
		})
	}
}

func TestAReplayRoutesByThePlansRevisionAndNotByTodays(t *testing.T) {
	w := newWorld(t)
	w.send(150)
	w.dieAt(atInsertAcked)
	before := w.open()
	w.defineProfile(1) // its columns are there when the plan is replayed
	w.send(30)
	w.finish()
	if n := w.count(fmt.Sprintf("SELECT count() FROM DB.w_p1 WHERE part = %d AND off >= %d AND off <= %d", before.Part, before.From, before.To)); n != 0 {
		t.Errorf("%d rows of the plan went to a table that it does not know", n)
	}
	if n := w.count("SELECT count() FROM DB.w_p1"); n == 0 {
		t.Error("later plans do not use the profile")
	}
}

func TestATopicThatWasCreatedAgainIsStoredFromItsStart(t *testing.T) {
	for _, point := range []string{"", atInsertAcked} {
		t.Run("died at "+point, func(t *testing.T) {
			w := newWorld(t)
			w.send(150)
			if point == "" {
				s := w.start(w.cfg)
				w.stored(patience)
				s.stop()
			} else {
				w.dieAt(point)
			}
			w.recreate()
			w.send(150)
			s := w.start(w.cfg)
			defer s.stop()
			w.until("the new topic's offsets are in the ledger", patience, func() (bool, string) {
				n := w.count(fmt.Sprintf("SELECT uniqExact(part, off) FROM DB.ledger WHERE topic_gen = %d", w.gens))
				return n == uint64(w.records[record.TopicTelemetry]), fmt.Sprintf("%d of %d", n, w.records[record.TopicTelemetry])
			})
			values := 0
			for _, m := range w.sent {
				values += m.values
			}
			// With the topic's name in the tokens the store would have dropped what has the old one's offsets.
			if n := w.count(fmt.Sprintf("SELECT count() FROM DB.s_other WHERE topic_gen = %d", w.gens)); n != uint64(values) {
				t.Errorf("%d values of the new topic, want %d", n, values)
			}
		})
	}
}

// recreate deletes the telemetry topic and makes it again; what was sent to it is forgotten.
func (w *world) recreate() {
	w.t.Helper()
	before, err := w.adm.ListTopics(w.t.Context(), record.TopicTelemetry)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.adm.DeleteTopic(w.t.Context(), record.TopicTelemetry); err != nil {
		w.t.Fatal(err)
	}
	w.until("the topic is made again", patience, func() (bool, string) {
		if _, err := w.adm.CreateTopic(w.t.Context(), parts, 1, nil, record.TopicTelemetry); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return false, err.Error()
		}
		now, err := w.adm.ListTopics(w.t.Context(), record.TopicTelemetry)
		return err == nil && now.Error() == nil && now[record.TopicTelemetry].ID != before[record.TopicTelemetry].ID, fmt.Sprint(err, now.Error())
	})
	w.cl.PurgeTopicsFromClient(record.TopicTelemetry)
	w.defineTopics(record.TopicTelemetry)
	w.sent, w.records, w.want = nil, map[string]int{}, map[string]int{}
	w.boot++
	clear(w.seqs)
}

func TestATopicThatIsCreatedAgainUnderARunningSinkIsStored(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.cfg)
	w.send(50)
	w.stored(patience)
	w.recreate()
	w.send(50)
	w.until("the new topic's offsets are in the ledger", patience, func() (bool, string) {
		n := w.count(fmt.Sprintf("SELECT uniqExact(part, off) FROM DB.ledger WHERE topic_gen = %d", w.gens))
		return n == uint64(w.records[record.TopicTelemetry]), fmt.Sprintf("%d of %d", n, w.records[record.TopicTelemetry])
	})
	s.stop()
}

func TestALogThatWasCutBelowThePlanIsALossThatIsSaid(t *testing.T) {
	w := newWorld(t)
	w.send(200)
	w.dieAt(atInsertAcked)
	p := w.open()
	var cut kadm.Offsets
	cut.Add(kadm.Offset{Topic: record.TopicTelemetry, Partition: p.Part, At: p.From + 3})
	if _, err := w.adm.DeleteRecords(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	s := w.start(calm(w.cfg))
	w.until("the loss is said", patience, func() (bool, string) {
		return s.metric("muster_sink_lost_records", "partition", fmt.Sprint(p.Part)) == 3, "muster_sink_lost_records"
	})
	if n := s.metric("muster_sink_alarms_total", "kind", alarmLoss); n != 1 {
		t.Errorf("%v alarms, want 1", n)
	}
	others := 0
	ends, err := w.adm.ListEndOffsets(t.Context(), record.TopicTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Partition != p.Part {
			others += int(o.Offset)
		}
	})
	w.until("the other partitions go on", patience, func() (bool, string) {
		n := w.count(fmt.Sprintf("SELECT uniqExact(part, off) FROM DB.ledger WHERE part != %d", p.Part))
		return int(n) == others, fmt.Sprintf("%d of %d", n, others)
	})
	s.stop()
	if at, metadata := w.committed(record.TopicTelemetry, p.Part); at != p.From || !strings.Contains(metadata, `"to"`) {
		t.Errorf("the plan's commit was moved: %d %s", at, metadata)
	}
}

func TestALogThatLostTheTailOfAPlanIsALossAndNothingGoesUnderThePlansTokens(t *testing.T) {
	w := newWorld(t)
	w.send(100)
	w.dieAt(atPlanCommitted)
	p := w.open()
	ends, err := w.adm.ListEndOffsets(t.Context(), record.TopicTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(record.TopicTelemetry, p.Part)
	// As if the log had held five records more when the plan was made.
	p.To = end.Offset + 4
	text, err := plan.Mark{Topic: p.Topic, Part: p.Part, Next: p.From, Open: &p}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.group(func() { w.commit(record.TopicTelemetry, p.Part, p.From, text) })
	s := w.start(w.cfg)
	w.until("the loss is said", patience, func() (bool, string) {
		return s.metric("muster_sink_lost_records", "partition", fmt.Sprint(p.Part)) == 5, "muster_sink_lost_records"
	})
	w.send(100) // others take the offsets
	s.stop()
	if n := w.count(fmt.Sprintf("SELECT count() FROM DB.ledger WHERE part = %d", p.Part)); n != 0 {
		t.Errorf("%d rows of a plan whose records are gone", n)
	}
	if at, metadata := w.committed(record.TopicTelemetry, p.Part); at != p.From || metadata != text {
		t.Errorf("the plan's commit was moved: %d %s", at, metadata)
	}
}

func TestEverythingThatIsNoNewMessageIsAccountedFor(t *testing.T) {
	w := newWorld(t)
	w.send(20)
	dev := record.Device{No: 5}
	first := w.next(dev, 0)
	other := first
	b := batch.NewBuilder()
	b.SetKey(first.boot, first.seq)
	b.SetInt(first.at.UnixMilli(), "uptime", 1)
	var err error
	if other.value, err = b.AppendTo(nil); err != nil {
		t.Fatal(err)
	}
	w.sent = append(w.sent, first)
	w.want["stored"]++
	w.want["conflict"]++ // the same key, another payload
	junk := first
	junk.value = []byte{0xc1}
	w.want["quarantined"]++
	unstamped := w.record(first, record.TopicTelemetry)
	unstamped.Headers = nil
	w.want["quarantined"]++
	mark := w.record(first, record.TopicTelemetry)
	mark.Headers = mark.Headers[:0]
	mark.Headers = append(mark.Headers, kafkaHeader(record.HeaderType, record.TypeWatermark))
	mark.Key = nil
	w.want["control"]++
	late := w.next(dev, 0)
	lb := batch.NewBuilder()
	lb.SetKey(late.boot, late.seq)
	lb.SetInt(late.at.Add(-40*24*time.Hour).UnixMilli(), "uptime", 1) // too old for a device without history
	if late.value, err = lb.AppendTo(nil); err != nil {
		t.Fatal(err)
	}
	w.want["stored"]++
	ev := event.Message{Keyed: true, Boot: 1, Seq: 0, Firmware: "1.2", Events: []event.Device{
		{TS: first.at.UnixMilli(), Type: event.Boot}, {TS: first.at.UnixMilli(), Type: event.Crash, Fields: map[string]any{"reason": "oom"}},
	}}
	em := first
	if em.value, err = ev.AppendTo(nil); err != nil {
		t.Fatal(err)
	}
	w.want["stored"]++
	w.want["duplicate"]++
	seen, err := (&sign.Sign{Kind: sign.SeqBack, Time: first.at.UnixMilli(), Gateway: "g", Keyed: true, Boot: 7, Seq: 8, High: 5_000}).Record(name(dev.No), dev)
	if err != nil {
		t.Fatal(err)
	}
	w.want["stored"]++
	forged := *seen // a device's message that says the same
	forged.Headers = []kgo.RecordHeader{seen.Headers[0], kafkaHeader(record.HeaderType, event.TypeDevice)}
	w.want["quarantined"]++
	w.produce(w.record(first, record.TopicTelemetry))
	w.produce(w.record(other, record.TopicTelemetry), w.record(junk, record.TopicTelemetry), unstamped, mark, w.record(late, record.TopicTelemetry),
		w.record(em, record.TopicEvents), w.record(em, record.TopicEvents), seen, &forged)
	w.records[record.TopicTelemetry] += 6
	w.records[record.TopicEvents] += 4
	w.finish()
	for reason, n := range map[string]uint64{"conflict": 1, "malformed": 2, "device_stamp": 1, "time_past": 1} {
		if got := w.count("SELECT count() FROM DB.quarantine WHERE reason = '" + reason + "'"); got != n {
			t.Errorf("%d rows in quarantine for %s, want %d", got, reason, n)
		}
	}
	if n := w.count("SELECT count() FROM DB.device_events"); n != 3 {
		t.Errorf("%d device events, want 3", n)
	}
	if n := w.count("SELECT count() FROM DB.events WHERE type = 'clone-sign' AND device = '" + name(dev.No) + "' AND seq IS NULL AND fields['sign'] = 'seq-back' AND toUInt64(fields['high_seq']) = 5000"); n != 1 {
		t.Errorf("%d signs, want 1", n)
	}
}
