package security

import (
	"slices"

	"muster.dev/services/anomaly/page"
	"muster.dev/services/anomaly/state"
)

// A device numbers its messages: by boot, and by seq within a boot. In the order of their readings' times those of one device are
// one sequence: within a boot the numbers go up, and a boot that was left is never come back to. Two devices of one identity are
// two such sequences, each of which goes on after the other. That is seen however seldom they send, through whichever gateways.
//
// Order is that of the readings, and not that of coming: what lay in a device's store, was repeated or was overtaken is older than
// what is known, and is passed over.
const (
	// liveFor is how far (ms) a message's newest reading may be from when it came. What is older lay in a store; and of a device
	// whose clock is wrong the order is not known.
	liveFor = 10 * minute
	// comesBack is how often each of two sequences has to be come back to.
	comesBack = 2
	// overlap is how long (ms) two sequences may take turns: a program that is replaced may talk beside the next one.
	overlap = 10 * minute
	// alone is how many messages of one sequence in a row make it the only one: a counter that began anew meets its old place once.
	alone = 12
	// forgotten is how long (ms) after its last turn a device's sequences are one again.
	forgotten = day

	maxThreads = 4      // sequences of one device that are known apart
	maxTangles = 20_000 // devices that have more than one; beyond that the one that was left alone for longest is one again

	twoSequences = "two-sequences" // the kind of the sign
)

// mark is where a device's sequence is: 12 bytes, of each device.
type mark struct {
	boot, seq uint32 // a seq's lower half: it goes up by less than 2^31
	newest    uint32 // reading, s
}

// thread is one of the sequences of a device.
type thread struct {
	boot, seq uint32
	back      uint8 // how often it was come back to, until one goes on alone
}

// tangle is a device that has had more than one sequence lately: it has restarted, or it is two.
type tangle struct {
	threads []thread // the one that goes on is the last; the first was left for longest
	since   int64    // when the second came of those that take turns; 0: none do
	last    int64    // the last turn, or when another thread came
	run     uint8    // messages since then
	kept    bool     // it has taken turns since it was in the line
}

// sequences are those of all devices of a shard.
type sequences struct {
	marks   []mark            // by device
	tangled []uint64          // bits, of each device: it has a tangle
	tangles map[int32]*tangle // by device
	line    []int32           // the same, in the order in which they may be forgotten
}

// after says whether a seq is a later one.
func after(seq, than uint32) bool { return int32(seq-than) > 0 }

// Message takes the key of a device's message, and the time of its newest reading. Keys of one device are told from those of
// another by nothing else: which stream they are of must be the same.
func (w *Watch) Message(i int32, at int64, boot uint32, seq uint64, newest int64) {
	if newest < at-liveFor || newest > at+liveFor || newest < 0 {
		return
	}
	q := &w.seqs
	if n := int(i) + 1 - len(q.marks); n > 0 {
		q.marks = append(q.marks, make([]mark, n)...)
		q.tangled = append(q.tangled, make([]uint64, max(0, int(i/64)+1-len(q.tangled)))...)
	}
	m, is := &q.marks[i], mark{boot, uint32(seq), uint32(newest / 1_000)}
	if m.newest >= is.newest {
		return
	}
	was := *m
	*m = is
	switch {
	case q.tangled[i/64]&(1<<(i%64)) != 0:
		if n := q.tangles[i].take(is, at); n > 0 {
			d := w.census.Device(i)
			w.add(&w.clones, page.Sign{Kind: kindClone, ID: d.ID, No: d.No, Cohort: w.census.Cohort(d.Cohort).Name, At: at, Count: n, Detail: twoSequences})
		}
	case was.newest != 0 && (was.boot != boot || !after(is.seq, was.seq)):
		q.part(i, at, was, is)
	}
}

// part begins a tangle.
func (q *sequences) part(i int32, at int64, was, is mark) {
	if q.tangles == nil {
		q.tangles = map[int32]*tangle{}
	}
	for len(q.line) >= maxTangles {
		q.drop(at)
	}
	q.tangles[i] = &tangle{threads: []thread{{boot: was.boot, seq: was.seq}, {boot: is.boot, seq: is.seq}}, last: at}
	q.line = append(q.line, i)
	q.tangled[i/64] |= 1 << (i % 64)
}

// drop takes the first of the line: whoever has taken turns since it was put there goes to the end, the others are one again.
func (q *sequences) drop(at int64) {
	i := q.line[0]
	q.line = q.line[1:]
	if t := q.tangles[i]; t.kept && t.last > at-forgotten {
		t.kept = false
		q.line = append(q.line, i)
		return
	}
	delete(q.tangles, i)
	q.tangled[i/64] &^= 1 << (i % 64)
}

// expire forgets the tangles of which the time is over.
func (q *sequences) expire(until int64) {
	for len(q.line) > 0 && q.tangles[q.line[0]].last <= until-forgotten {
		q.drop(until)
	}
}

// take sorts a message to its thread, and gives how many signs it is: none, or all turns at the one that shows that they are two
// devices, and one at each that follows.
func (t *tangle) take(m mark, at int64) (signs uint64) {
	current, best := len(t.threads)-1, -1
	for k, th := range t.threads { // the thread that it goes on from is the one that is the least behind
		if th.boot == m.boot && after(m.seq, th.seq) && (best < 0 || !after(t.threads[best].seq, th.seq)) {
			best = k
		}
	}
	switch best {
	case current:
		t.threads[current].seq = m.seq
		if t.run++; t.run >= alone {
			t.run, t.since = 0, 0
			for k := range t.threads {
				t.threads[k].back = 0
			}
		}
		return 0
	case -1:
		t.last, t.run = at, 0
		if len(t.threads) == maxThreads {
			t.threads = slices.Delete(t.threads, 0, 1)
		}
		t.threads = append(t.threads, thread{boot: m.boot, seq: m.seq})
		return 0
	}
	told := t.two() && t.last-t.since >= overlap
	turned := t.threads[best]
	turned.seq, turned.back = m.seq, min(turned.back+1, 200)
	t.threads = append(slices.Delete(t.threads, best, best+1), turned)
	if t.since == 0 {
		t.since = t.last
	}
	t.last, t.run, t.kept = at, 0, true
	switch {
	case !t.two() || at-t.since < overlap:
		return 0
	case told:
		return 1
	}
	return 2 * comesBack
}

// two says whether two threads were come back to often enough.
func (t *tangle) two() bool {
	n := 0
	for _, th := range t.threads {
		if th.back >= comesBack {
			n++
		}
	}
	return n >= 2
}

func (q *sequences) write(w *state.Writer) {
	w.Len(len(q.marks))
	for _, m := range q.marks {
		w.U32(m.boot)
		w.U32(m.seq)
		w.U32(m.newest)
	}
	w.Len(len(q.line))
	for _, i := range q.line {
		t := q.tangles[i]
		w.U32(uint32(i))
		w.I64(t.since)
		w.I64(t.last)
		w.U8(t.run)
		w.Bool(t.kept)
		w.Len(len(t.threads))
		for _, th := range t.threads {
			w.U32(th.boot)
			w.U32(th.seq)
			w.U8(th.back)
		}
	}
}

func readSequences(r *state.Reader) (q sequences) {
	for range r.Len(mostDevices) {
		q.marks = append(q.marks, mark{r.U32(), r.U32(), r.U32()})
		if r.Err() != nil {
			return q
		}
	}
	q.tangled = make([]uint64, (len(q.marks)+63)/64)
	q.tangles = map[int32]*tangle{}
	for range r.Len(maxTangles) {
		i, t := r.U32(), tangle{since: r.I64(), last: r.I64(), run: r.U8(), kept: r.Bool()}
		for range r.Len(maxThreads) {
			t.threads = append(t.threads, thread{r.U32(), r.U32(), r.U8()})
		}
		if r.Err() == nil && (int64(i) >= int64(len(q.marks)) || len(t.threads) < 2 || q.tangles[int32(i)] != nil) {
			r.Spoil("device %d of %d has %d sequences, or is told twice", i, len(q.marks), len(t.threads))
		}
		if r.Err() != nil {
			return q
		}
		q.tangles[int32(i)] = &t
		q.line = append(q.line, int32(i))
		q.tangled[i/64] |= 1 << (i % 64)
	}
	return q
}
