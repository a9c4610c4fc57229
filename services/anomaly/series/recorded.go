package series

import "math"

// Flat is a stretch of a recorded series that says the same for longer than it ever did. The texts are the file's: of the
// times of its first row and its last, and of the value.
type Flat struct{ From, Until, Value string }

// recorded watches a recorded series for what is flat, as a Bank does; its rows are the buckets.
type recorded struct {
	watch       watch
	last        int32
	from, until []byte // times of the newest value's first row, and of the newest row
	value       []byte
	each        func(Flat)
}

// row takes a row that the Detector has seen.
func (r *recorded) row(d *Detector, row *csvRow) {
	w, was := &r.watch, r.watch.is(flat)
	b := bucket{no: int32(max(0, min(math.MaxInt32, floorDiv(row.at, bucketMS))))}
	b.add(int64(b.no)*bucketMS, row.value)
	w.weeks = budgeted(DefaultSettings().False, toldOf)
	w.lives(r.last, b.no)
	w.states.see(&b)
	w.flatLine(d, &b, row.value)
	w.value, r.last = row.value, b.no
	if was && !w.is(flat) {
		r.tell()
	}
	if w.run == 0 {
		r.from, r.value = append(r.from[:0], row.time...), append(r.value[:0], row.text...)
	}
	r.until = append(r.until[:0], row.time...)
}

// end is after the last row.
func (r *recorded) end() {
	if r.watch.is(flat) {
		r.tell()
	}
}

func (r *recorded) tell() {
	if r.each != nil {
		r.each(Flat{string(r.from), string(r.until), string(r.value)})
	}
}
