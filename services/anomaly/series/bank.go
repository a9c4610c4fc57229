package series

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"muster.dev/services/anomaly/page"
)

const (
	bucketMS    = 300_000
	openBuckets = 12    // that wait for their end, of one series; an hour of readings may come at once
	quietAfter  = 288   // buckets, a day: what is not heard is silence's affair, and its findings are over
	evictAfter  = 2_016 // buckets, a week
	chunkSize   = 256

	// MaxFindings are told in one tick; the rest waits for the next.
	MaxFindings = 2_000

	// mostOfOne is how many series one device may have: it names its metrics itself, and all of a shard's devices have one
	// budget. Of a small budget it is a share.
	mostOfOne   = 500
	shareOfOne  = 4
	mostOfNames = MaxFindings / 2 // groups whose number of series is told in one tick
)

// bucket gathers rows. The sum is of two parts, so that the order in which rows come does not show in the mean.
type bucket struct {
	no                   int32
	rows                 uint32
	when                 int64 // sum of its rows' ms since its begin
	sum, rest, low, high float64
}

// moment is its rows' mean instant, in buckets.
func (b *bucket) moment() float64 {
	return float64(b.no) + float64(b.when)/float64(b.rows)/bucketMS
}

func (b *bucket) add(at int64, x float64) {
	if b.rows == 0 {
		b.low, b.high = x, x
	}
	b.rows++
	b.when += at - int64(b.no)*bucketMS
	b.low, b.high = min(b.low, x), max(b.high, x)
	sum := b.sum + x
	part := sum - b.sum
	b.rest += (b.sum - (sum - part)) + (x - part)
	b.sum = sum
}

// mean is rounded to the 40 bits that the order of additions does not reach.
func (b *bucket) mean() float64 {
	if b.low == b.high {
		return b.low
	}
	m, e := math.Frexp((b.sum + b.rest) / float64(b.rows))
	return math.Ldexp(math.Round(m*(1<<40))/(1<<40), e)
}

// entry is one series. What each row asks for comes first: it is one place in memory.
type entry struct {
	no      uint32
	device  int32
	cohort  int32
	next    int32 // series of the same device; -1: none
	then    int32 // 1 + the series of the device's row after one of this, as a guess; 0: none
	last    int32 // newest bucket that was judged; 0: none yet
	metric  uint16
	used    bool
	waiting uint8 // of open
	open    [openBuckets]bucket

	came  int32  // newest bucket of all when its first row came
	heard uint32 // buckets of the device when its last was judged
	det   Detector
	watch watch
	way   way
	wear  wear
}

// talker is a device of which there are series.
type talker struct {
	first int32  // series
	last  int32  // newest bucket in which it spoke
	heard uint32 // buckets in which it spoke
	has   int32  // series
}

// group is the series of one cohort and metric.
type group struct{ series, told uint32 }

// Counts say what a Bank did with rows.
type Counts struct {
	Rows    uint64 // all
	Refused uint64 // no number, or beyond MaxValue
	Beyond  uint64 // of series for which the budget has no place
	Late    uint64 // of buckets that are closed
	Evicted uint64 // series that were not heard for a week
}

// Bank holds the detectors of one shard.
type Bank struct {
	s      Settings
	names  Names
	chunks [][]entry
	made   int32   // entries
	free   []int32 // of these, the last first

	index   map[uint64]int32 // by device and metric
	leads   []int32          // by device, of the first mostLeads: 1 + the series of its first row, as a guess; 0: it has none
	latest  int32            // 1 + the series of the newest row that had one
	talkers map[int32]talker
	groups  map[uint64]group // by cohort and metric
	crowds  map[uint64]*crowd
	sizes   map[int32]uint32 // series by cohort

	metrics   map[string]uint16
	metricAt  []metricName
	metricOff []uint16 // free numbers

	step    int32 // buckets below it are closed
	newest  int32 // that was closed
	untold  bool
	leaving []page.Finding // ends of findings whose series is gone
	counts  Counts
}

type metricName struct {
	text   string
	groups uint32
}

// NewBank holds nothing yet.
func NewBank(s Settings, names Names) *Bank {
	return &Bank{s: s, names: names, index: map[uint64]int32{}, talkers: map[int32]talker{}, groups: map[uint64]group{}, crowds: map[uint64]*crowd{}, sizes: map[int32]uint32{}, metrics: map[string]uint16{}}
}

// Counts are since the Bank's begin.
func (b *Bank) Counts() Counts { return b.counts }

// Len is the number of series.
func (b *Bank) Len() int { return len(b.index) }

func (b *Bank) at(i int32) *entry { return &b.chunks[i/chunkSize][i%chunkSize] }

func pair(of int32, metric uint16) uint64 { return uint64(uint32(of))<<16 | uint64(metric) }

// Row takes a reading of a device, at by the reading's own time, which the caller has found to be near its arrival.
func (b *Bank) Row(device int32, no uint32, cohort int32, metric []byte, at int64, x float64) {
	b.counts.Rows++
	if math.IsNaN(x) || math.Abs(x) > MaxValue || at < 0 || at > math.MaxInt32*bucketMS {
		b.counts.Refused++
		return
	}
	i := b.find(device, metric)
	if i < 0 {
		if i = b.make(device, cohort, metric); i < 0 {
			b.counts.Beyond++
			return
		}
	}
	b.latest = i + 1
	e := b.at(i)
	e.no = no
	if e.cohort != cohort {
		b.move(e, cohort)
	}
	b.put(e, at, x)
}

// mostLeads is how many devices are found without a map.
const mostLeads = 1 << 24

// find gives the series of a device's metric, or -1. A device says its metrics in the same order mostly: the guess is the
// series that came next the last time.
func (b *Bank) find(device int32, metric []byte) int32 {
	if uint32(device) >= mostLeads {
		return b.look(device, metric)
	}
	if int(device) >= len(b.leads) || b.leads[device] == 0 {
		return -1
	}
	guess := &b.leads[device]
	if b.latest > 0 {
		if e := b.at(b.latest - 1); e.used && e.device == device {
			guess = &e.then
		}
	}
	if i := *guess - 1; i >= 0 {
		if e := b.at(i); e.used && e.device == device && b.metricAt[e.metric].text == string(metric) {
			return i
		}
	}
	i := b.look(device, metric)
	if i >= 0 {
		*guess = i + 1
	}
	return i
}

func (b *Bank) look(device int32, metric []byte) int32 {
	if m, known := b.metrics[string(metric)]; known {
		if i, there := b.index[pair(device, m)]; there {
			return i
		}
	}
	return -1
}

// lead says with which series a device's rows may begin: 1 + its place, or 0 for none.
func (b *Bank) lead(device, with int32) {
	if uint32(device) >= mostLeads {
		return
	}
	if more := int(device) + 1 - len(b.leads); more > 0 {
		b.leads = append(b.leads, make([]int32, more)...)
	}
	b.leads[device] = with
}

// put adds a row to its bucket; they are in order.
func (b *Bank) put(e *entry, at int64, x float64) {
	no := int32(at / bucketMS)
	if no <= e.last {
		b.counts.Late++
		return
	}
	k := int(e.waiting)
	for k > 0 && e.open[k-1].no > no {
		k--
	}
	if k > 0 && e.open[k-1].no == no {
		e.open[k-1].add(at, x)
		return
	}
	if e.waiting == openBuckets {
		if k == 0 {
			b.counts.Late++
			return
		}
		b.close(e)
		k--
	}
	copy(e.open[k+1:], e.open[k:e.waiting])
	e.open[k] = bucket{no: no}
	e.open[k].add(at, x)
	e.waiting++
}

// make gives a new series a place, or -1.
func (b *Bank) make(device, cohort int32, metric []byte) int32 {
	if len(b.index) >= b.s.Series || len(metric) > page.MaxText {
		return -1
	}
	t, there := b.talkers[device]
	if t.has >= max(shareOfOne, int32(min(mostOfOne, b.s.Series/shareOfOne))) {
		return -1
	}
	m, ok := b.metric(metric)
	if !ok {
		return -1
	}
	var i int32
	if n := len(b.free); n > 0 {
		i, b.free = b.free[n-1], b.free[:n-1]
	} else {
		if i = b.made; i%chunkSize == 0 {
			b.chunks = append(b.chunks, make([]entry, chunkSize))
		}
		b.made++
	}
	if !there {
		t.first = -1
	}
	t.has++
	e := b.at(i)
	*e = entry{used: true, device: device, cohort: cohort, metric: m, next: t.first, came: b.newest, heard: t.heard}
	t.first = i
	b.talkers[device] = t
	if t.has == 1 {
		b.lead(device, i+1)
	}
	b.index[pair(device, m)] = i
	b.grouped(cohort, m, 1)
	return i
}

// metric gives a name its number, which it keeps as long as a group has it.
func (b *Bank) metric(name []byte) (m uint16, ok bool) {
	if m, ok = b.metrics[string(name)]; ok {
		return m, true
	}
	switch n := len(b.metricOff); {
	case n > 0:
		m, b.metricOff = b.metricOff[n-1], b.metricOff[:n-1]
	case len(b.metricAt) > math.MaxUint16:
		return 0, false
	default:
		m = uint16(len(b.metricAt))
		b.metricAt = append(b.metricAt, metricName{})
	}
	b.metricAt[m].text = string(name)
	b.metrics[b.metricAt[m].text] = m
	return m, true
}

func (b *Bank) grouped(cohort int32, metric uint16, by uint32) {
	g, there := b.groups[pair(cohort, metric)]
	if !there {
		b.metricAt[metric].groups++
	}
	g.series += by
	if b.sizes[cohort] += by; b.sizes[cohort] == 0 {
		delete(b.sizes, cohort)
	}
	b.setGroup(pair(cohort, metric), g)
}

// toldOf is how many kinds of findings of a series are looked for and are not rare by themselves.
const toldOf = 4

// weeks is the logarithm of the weeks in which one of so many series and kinds may be told falsely once, so that all of
// them together keep to the budget.
func (b *Bank) weeks(of float64) float64 { return budgeted(b.s.False, of) }

// budgeted is weeks with so many false incidents borne in 1,000.
func budgeted(falsely, of float64) float64 { return logarithm(1000 / falsely * max(1, of)) }

// setGroup keeps a group, or forgets one without series of which nothing is left to tell.
func (b *Bank) setGroup(key uint64, g group) {
	if b.groups[key] = g; g != (group{}) {
		return
	}
	delete(b.groups, key)
	metric := uint16(key)
	m := &b.metricAt[metric]
	if m.groups--; m.groups == 0 {
		delete(b.metrics, m.text)
		m.text = ""
		b.metricOff = append(b.metricOff, metric)
	}
}

// Leave forgets a device.
func (b *Bank) Leave(device int32) {
	t, there := b.talkers[device]
	if !there {
		return
	}
	var all []int32
	for i := t.first; i >= 0; i = b.at(i).next {
		all = append(all, i)
	}
	slices.Sort(all)
	for _, i := range all {
		b.drop(i)
	}
}

// drop takes a series out; its findings are over.
func (b *Bank) drop(i int32) {
	e := b.at(i)
	b.withdraw(e)
	b.grouped(e.cohort, e.metric, ^uint32(0))
	b.disperse(pair(e.cohort, e.metric))
	t := b.talkers[e.device]
	t.has--
	if t.first == i {
		t.first = e.next
	} else {
		for k := t.first; k >= 0; k = b.at(k).next {
			if o := b.at(k); o.next == i {
				o.next = e.next
			}
		}
	}
	b.lead(e.device, t.first+1)
	if t.first < 0 {
		delete(b.talkers, e.device)
	} else {
		b.talkers[e.device] = t
	}
	delete(b.index, pair(e.device, e.metric))
	*e = entry{}
	b.free = append(b.free, i)
	b.untold = true
}

// move takes a series into another cohort.
func (b *Bank) move(e *entry, cohort int32) {
	b.withdraw(e)
	b.grouped(e.cohort, e.metric, ^uint32(0))
	b.disperse(pair(e.cohort, e.metric))
	e.cohort = cohort
	b.grouped(cohort, e.metric, 1)
	b.untold = true
}

// withdraw ends what was told of a series under its cohort.
func (b *Bank) withdraw(e *entry) {
	for k := range kinds {
		if e.watch.told&(1<<k) != 0 {
			f := b.finding(e, k)
			f.Over, f.At = true, int64(max(e.last, e.watch.found[k].since))*bucketMS+bucketMS
			b.leaving = append(b.leaving, f)
		}
	}
	e.watch.told = 0
}

// close judges the oldest bucket of a series.
func (b *Bank) close(e *entry) {
	now := e.open[0]
	copy(e.open[:], e.open[1:e.waiting])
	e.waiting--
	t := b.talkers[e.device]
	if now.no > t.last {
		t.last = now.no
		t.heard++
		b.talkers[e.device] = t
	}
	if absent := t.heard - e.heard; absent > 1 && e.last > 0 && !e.watch.is(rate) {
		e.watch.absence = max(e.watch.absence, absent-1)
	}
	e.heard = t.heard
	was := e.watch.open
	e.watch.weeks = b.weeks(toldOf * float64(b.sizes[e.cohort]))
	e.judge(&now, b.s.Threshold)
	e.last = now.no
	b.newest = max(b.newest, now.no)
	b.untold = b.untold || was != e.watch.open || e.watch.fresh != 0
}

// Tick closes the buckets that the shard's clock has left behind, and tells what began and what is over since the last
// tick, in order of cohort, metric, device and kind.
func (b *Bank) Tick(until int64) []page.Finding {
	if step := int32(floorDiv(until-b.s.Late.Milliseconds(), bucketMS)); step > b.step {
		was := b.step
		b.step = step
		b.pass(wearingAt(was) != wearingAt(step))
	}
	if !b.untold {
		return nil
	}
	return b.tell(until)
}

func (b *Bank) pass(wearing bool) {
	for i := range b.made {
		e := b.at(i)
		for e.waiting > 0 && e.open[0].no < b.step {
			b.close(e)
		}
	}
	b.compare()
	if wearing {
		b.wearing()
	}
	for i := range b.made {
		e := b.at(i)
		if !e.used {
			continue
		}
		was := e.watch.open
		// By what was heard of others, not by the clock: when all are silent, it is not the series'.
		switch quiet := b.newest - max(e.last, e.came); {
		case quiet > evictAfter && e.waiting == 0:
			b.counts.Evicted++
			b.drop(i)
			continue
		case b.newest-b.talkers[e.device].last > quietAfter:
			for k := range kinds {
				if e.watch.is(k) {
					e.watch.end(k, e.last+1)
				}
			}
		default:
			e.watch.missing(&e.det, b.talkers[e.device].heard-e.heard, e.last)
		}
		b.untold = b.untold || was != e.watch.open
	}
	for _, g := range b.groups {
		b.untold = b.untold || g.moved()
	}
}

// moved says whether the number of series is worth telling.
func (g group) moved() bool {
	off := max(g.series, g.told) - min(g.series, g.told)
	return off > 0 && off*10 >= g.told
}

// Series is the kind of a finding that tells how many series of a cohort and metric a shard has: Reporting, and Usual, in
// micro, is how many it had told before. It names no device.
const Series = "series"

func (b *Bank) tell(until int64) []page.Finding {
	out := b.leaving
	if len(out) > MaxFindings {
		out = out[:MaxFindings:MaxFindings]
	}
	b.leaving = b.leaving[len(out):]
	if len(b.leaving) == 0 {
		b.leaving = nil
	}
	more := len(b.leaving) > 0
	names := 0
	for _, key := range slices.Sorted(maps.Keys(b.groups)) {
		if g := b.groups[key]; g.moved() {
			if names++; names > mostOfNames {
				more = true
				break
			}
			out = append(out, page.Finding{Kind: Series, Cohort: b.names.Cohort(int32(key >> 16)), Metric: b.metricAt[uint16(key)].text, At: until, Reporting: g.series, Usual: int64(g.told) * 1e6})
			g.told = g.series
			b.setGroup(key, g)
		}
	}
	out = b.tellCrowds(out)
	for i := range b.made {
		e := b.at(i)
		w := &e.watch
		if !e.used || (w.open == w.told && w.fresh == 0) {
			continue
		}
		if len(out) >= MaxFindings {
			more = true
			break
		}
		out = w.tell(out, func(k kind) page.Finding { return b.finding(e, k) })
	}
	b.untold = more
	slices.SortStableFunc(out, func(x, y page.Finding) int {
		return cmp.Or(strings.Compare(x.Cohort, y.Cohort), strings.Compare(x.Metric, y.Metric), strings.Compare(x.ID, y.ID), strings.Compare(x.Kind, y.Kind))
	})
	return out
}

// tell says what began and what is over since it was last asked.
func (w *watch) tell(out []page.Finding, finding func(kind) page.Finding) []page.Finding {
	for k := range kinds {
		bit := uint8(1) << k
		open, told, fresh := w.open&bit != 0, w.told&bit != 0, w.fresh&bit != 0
		if !told && (open || fresh) {
			out = append(out, finding(k))
		}
		if !open && (told || fresh) {
			f := finding(k)
			f.Over, f.At = true, int64(w.found[k].until)*bucketMS
			out = append(out, f)
		}
	}
	w.told, w.fresh = w.open, 0
	return out
}

func (b *Bank) finding(e *entry, k kind) page.Finding {
	f := e.watch.finding(k)
	f.Cohort, f.Metric, f.ID, f.No = b.names.Cohort(e.cohort), b.metricAt[e.metric].text, b.names.Device(e.device), e.no
	f.Reporting = b.groups[pair(e.cohort, e.metric)].series
	return f
}

func (w *watch) finding(k kind) page.Finding {
	f := w.found[k]
	name := [kinds]string{"unusual", "flat-line", "noise", "jump", "rate", "unlike-peers"}[k]
	if k == departure && w.alone.drifts {
		name = "drift"
	}
	return page.Finding{
		Kind: name, At: int64(f.since) * bucketMS,
		Score: micro(float64(f.score)), Value: micro(float64(f.value)), Usual: micro(float64(f.usual)),
	}
}

// micro is v in millionths, as far as they go. What is no number is none on any machine.
func micro(v float64) int64 {
	if math.IsNaN(v) {
		return 0
	}
	return int64(math.Round(max(-9e18, min(9e18, float64(v*1e6)))))
}
